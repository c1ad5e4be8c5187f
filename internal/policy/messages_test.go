package policy

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	quotedMessage = regexp.MustCompile("```([^`\n]+)```")
	verb          = regexp.MustCompile(`%[-+#0-9.\[\]*]*[a-zA-Z]`)
)

// minPiece is how long the words between two gaps must be to be looked for.
const minPiece = 8

// The messages that docs/troubleshoot.md explains are those that programs print: what
// stands between two "…" is in one text of the source, or in two that are put together.
func TestExplainedMessagesAreReal(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root(t), "docs", "troubleshoot.md"))
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, s := range sources(t) {
		if !s.isTest() {
			texts = append(texts, literals(s.file)...)
		}
	}
	all := strings.Join(texts, "\x00")
	messages := quotedMessage.FindAllStringSubmatch(string(page), -1)
	if len(messages) < 30 {
		t.Errorf("only %d messages are explained", len(messages))
	}
	for _, m := range messages {
		looked := false
		for _, piece := range strings.Split(m[1], "…") {
			if piece = strings.TrimSpace(piece); len(piece) < minPiece {
				continue
			}
			looked = true
			if !printed(all, piece) {
				t.Errorf("docs/troubleshoot.md explains %q, and no program says %q", m[1], piece)
			}
		}
		if !looked {
			t.Errorf("docs/troubleshoot.md explains %q, of which nothing is left to look for", m[1])
		}
	}
}

// printed reports whether all has the piece, whole or put together of two texts.
func printed(all, piece string) bool {
	if strings.Contains(all, piece) {
		return true
	}
	for i := range piece {
		if piece[i] == ' ' && i >= minPiece && len(piece)-i > minPiece && strings.Contains(all, piece[:i]) && strings.Contains(all, piece[i+1:]) {
			return true
		}
	}
	return false
}

// literals are the texts of a file as they are printed, with gaps for what is formatted
// in; texts that are added to each other are one.
func literals(file *ast.File) (out []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		if text, ok := constant(n); ok {
			out = append(out, verb.ReplaceAllString(text, "\x00"))
			return false
		}
		return true
	})
	return out
}

func constant(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.BasicLit:
		if n.Kind == token.STRING {
			text, err := strconv.Unquote(n.Value)
			return text, err == nil
		}
	case *ast.BinaryExpr:
		if n.Op == token.ADD {
			left, a := constant(n.X)
			right, b := constant(n.Y)
			switch {
			case a && b:
				return left + right, true
			case a:
				return left + "\x00" + others(n.Y), true
			case b:
				return others(n.X) + "\x00" + right, true
			}
		}
	}
	return "", false
}

// others are the texts within an expression that is none itself.
func others(n ast.Node) string {
	var out []string
	ast.Inspect(n, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok {
			if text, ok := constant(lit); ok {
				out = append(out, text)
			}
		}
		return true
	})
	return strings.Join(out, "\x00")
}
