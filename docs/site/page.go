package main

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"

	"github.com/stavily/agents/internal/limits"
)

// maxFile is the largest file that is taken into the site.
const maxFile = 4 << 20

// site is what will be written: files by their path in the site.
type site struct {
	root  string
	files map[string][]byte
	ids   map[string]map[string]bool // of headings, by page
	menu  []entry
	links []found
}

// entry is one line of the list at the side. Its target is as index links to it.
type entry struct{ Title, Target string }

// found is a link within the site, and where it stands.
type found struct{ page, link, target, fragment string }

var markdown = goldmark.New(
	goldmark.WithExtensions(extension.GFM),
	goldmark.WithParserOptions(parser.WithAutoHeadingID()),
	goldmark.WithRendererOptions(html.WithUnsafe()), // the pages are ours; tables have <br>
)

// index is the page whose links are the list at the side.
const index = "docs/README.md"

// address is where a Markdown file is in the site.
func address(name string) string {
	if path.Base(name) == "README.md" {
		return path.Join(path.Dir(name), "index.html")
	}
	return strings.TrimSuffix(name, ".md") + ".html"
}

func (s *site) read(name string) ([]byte, error) {
	src, err := limits.ReadFile(filepath.Join(s.root, filepath.FromSlash(name)), maxFile)
	if err != nil {
		return nil, fmt.Errorf("read a page: %w", err)
	}
	return src, nil
}

func (s *site) readMenu() error {
	src, err := s.read(index)
	if err != nil {
		return err
	}
	return ast.Walk(markdown.Parser().Parse(text.NewReader(src)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if l, ok := n.(*ast.Link); ok && entering && local(string(l.Destination)) {
			file, _, _ := strings.Cut(string(l.Destination), "#")
			s.menu = append(s.menu, entry{plain(l, src), file})
		}
		return ast.WalkContinue, nil
	})
}

// plain is the text of a node without its marks.
func plain(n ast.Node, src []byte) string {
	var out strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, ok := n.(*ast.Text); ok && entering {
			out.Write(t.Segment.Value(src))
		}
		return ast.WalkContinue, nil
	})
	return out.String()
}

// local reports whether a link stays within the repository.
func local(link string) bool {
	return !strings.Contains(link, ":") && !strings.HasPrefix(link, "#") && link != ""
}

// add makes one page, and takes in what it links to.
func (s *site) add(name string) error {
	src, err := s.read(name)
	if err != nil {
		return err
	}
	doc := markdown.Parser().Parse(text.NewReader(src))
	title, ids := name, map[string]bool{}
	err = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			if id, ok := n.AttributeString("id"); ok {
				ids[string(id.([]byte))] = true
			}
			if n.Level == 1 && title == name {
				title = plain(n, src)
			}
		case *ast.Link:
			n.Destination, err = s.follow(name, n.Destination)
		case *ast.Image:
			n.Destination, err = s.follow(name, n.Destination)
		}
		return ast.WalkContinue, err
	})
	if err != nil {
		return err
	}
	var body bytes.Buffer
	if err := markdown.Renderer().Render(&body, src, doc); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.ids[address(name)] = ids
	return s.page(address(name), title, body.String())
}

// follow turns a link of a page into one of the site, and takes in what is no page.
func (s *site) follow(page string, link []byte) ([]byte, error) {
	file, fragment, _ := strings.Cut(string(link), "#")
	from := address(page)
	if file == "" && fragment != "" {
		s.links = append(s.links, found{page, string(link), from, fragment})
	}
	if !local(string(link)) {
		return link, nil
	}
	name := path.Join(path.Dir(page), file)
	target, err := s.takeIn(name)
	if err != nil {
		return nil, fmt.Errorf("%s links to %s: %w", page, link, err)
	}
	s.links = append(s.links, found{page, string(link), target, fragment})
	out := relative(from, target)
	if fragment != "" {
		out += "#" + fragment
	}
	return []byte(out), nil
}

// takeIn gives the place in the site of a file or directory, and puts there what is no page.
func (s *site) takeIn(name string) (string, error) {
	if name == ".." || strings.HasPrefix(name, "../") {
		return "", errors.New("it is outside of the repository")
	}
	info, err := os.Stat(filepath.Join(s.root, filepath.FromSlash(name)))
	if err != nil {
		return "", err
	}
	switch {
	case info.IsDir():
		return s.list(name)
	case strings.HasSuffix(name, ".md"):
		return address(name), nil
	}
	if _, there := s.files[name]; there {
		return name, nil
	}
	s.files[name], err = s.read(name)
	return name, err
}

// list is the page of a directory: its README, or the files in it.
func (s *site) list(dir string) (string, error) {
	target := path.Join(dir, "index.html")
	entries, err := os.ReadDir(filepath.Join(s.root, filepath.FromSlash(dir)))
	if err != nil || slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "README.md" }) {
		return target, err
	}
	if _, there := s.files[target]; there {
		return target, nil
	}
	s.files[target] = nil // directories may lead to each other
	var body strings.Builder
	fmt.Fprintf(&body, "<h1>%s</h1>\n<ul>\n", template.HTMLEscapeString(dir))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || strings.HasSuffix(e.Name(), ".go") {
			continue
		}
		inside, err := s.takeIn(path.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&body, "<li><a href=\"%s\">%s</a></li>\n", relative(target, inside), template.HTMLEscapeString(e.Name()))
	}
	body.WriteString("</ul>\n")
	return target, s.page(target, dir, body.String())
}

// relative is the way from one file of the site to another.
func relative(from, to string) string {
	return strings.Repeat("../", strings.Count(from, "/")) + to
}

// check says which links lead to no heading or page.
func (s *site) check() (wrong []error) {
	for _, l := range s.links {
		if _, there := s.files[l.target]; !there {
			wrong = append(wrong, fmt.Errorf("%s links to %s, which is not in the site", l.page, l.link))
		} else if l.fragment != "" && !s.ids[l.target][l.fragment] {
			wrong = append(wrong, fmt.Errorf("%s links to %s, and there is no such heading", l.page, l.link))
		}
	}
	return wrong
}

// page writes the frame around a body.
func (s *site) page(at, title, body string) error {
	var menu []entry
	for _, e := range s.menu {
		target, err := s.takeIn(path.Join(path.Dir(index), e.Target))
		if err != nil {
			return fmt.Errorf("%s links to %s: %w", index, e.Target, err)
		}
		menu = append(menu, entry{e.Title, relative(at, target)})
	}
	var out bytes.Buffer
	err := frame.Execute(&out, map[string]any{
		"Title": title, "Menu": menu, "Home": relative(at, "index.html"), "Index": relative(at, address(index)),
		"Body": template.HTML(body), // made from our own pages
	})
	s.files[at] = out.Bytes()
	return err
}
