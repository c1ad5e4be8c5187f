package main

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	href    = regexp.MustCompile(`(?:href|src)="([^"]*)"`)
	outside = regexp.MustCompile(`(?i)<(script|link|img|iframe)[ >]|@import|url\(`)
)

// The whole site is built, each link in it leads to something that is there, and no
// page asks the network for anything.
func TestEveryLinkResolves(t *testing.T) {
	out := t.TempDir()
	n, err := build("../..", out)
	if err != nil {
		t.Fatal(err)
	}
	if n < 30 {
		t.Errorf("only %d pages", n)
	}
	site := os.DirFS(out)
	links := 0
	err = fs.WalkDir(site, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".html") {
			return err
		}
		text, err := fs.ReadFile(site, name)
		if err != nil {
			return err
		}
		if m := outside.Find(text); m != nil {
			t.Errorf("%s has %s: a page is one file", name, m)
		}
		for _, m := range href.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], ":") {
				continue
			}
			links++
			file, fragment, _ := strings.Cut(m[1], "#")
			target := name
			if file != "" {
				target = path.Join(path.Dir(name), file)
			}
			there, err := fs.ReadFile(site, target)
			if err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			} else if fragment != "" && !strings.Contains(string(there), `id="`+fragment+`"`) {
				t.Errorf("%s links to %s, and there is no such heading", name, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if links < 500 {
		t.Errorf("only %d links were followed", links)
	}
}

// A link that leads nowhere is told with its page, and the site that was there stays.
func TestDeadLinksAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"[a](gone.md)":       "docs/README.md links to gone.md: ",
		"[a](../../x)":       "outside of the repository",
		"[a](other.md#gone)": "docs/README.md links to other.md#gone, and there is no such heading",
		"[a](#gone)":         "docs/README.md links to #gone, and there is no such heading",
	} {
		root, out := t.TempDir(), t.TempDir()
		for name, text := range map[string]string{"docs/README.md": "# Index\n\n" + text + "\n", "docs/other.md": "# Other\n", "README.md": "# Home\n"} {
			if err := os.MkdirAll(filepath.Join(root, "docs"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		before := filepath.Join(out, "index.html")
		if err := os.WriteFile(before, []byte("before"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := build(root, out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		if got, err := os.ReadFile(before); err != nil || string(got) != "before" {
			t.Errorf("%s: the site that was there is gone: %v", text, err)
		}
	}
}

// The index leads to every page that is about running or writing something.
func TestTheIndexIsWhole(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"../*.md", "../plugins/*.md", "../cookbook/README.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		for _, name := range names {
			link := strings.TrimPrefix(filepath.ToSlash(name), "../")
			if link != "README.md" && !strings.Contains(string(text), "]("+link+")") {
				t.Errorf("docs/README.md does not lead to %s", link)
			}
		}
	}
}
