package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	from := flag.String("root", ".", "the repository's directory")
	out := flag.String("out", "dist/site", "where the site is written; what is there is replaced")
	flag.Parse()
	n, err := build(*from, *out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
	fmt.Printf("%d pages: %s\n", n, filepath.Join(*out, "index.html"))
}

// skipped are directories whose Markdown is no page: what was built, and what tests and
// generators take apart.
var skipped = map[string]bool{"bin": true, "dist": true, "testdata": true, "templates": true, "node_modules": true}

// pages lists the Markdown files below root, slash-separated.
func pages(root string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != root && (strings.HasPrefix(d.Name(), ".") || skipped[d.Name()]) {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, ".md") {
			rel, err := filepath.Rel(root, name)
			if err != nil {
				return err
			}
			out = append(out, filepath.ToSlash(rel))
		}
		return nil
	})
	return out, err
}

// build writes the whole site and returns how many pages it has.
func build(root, out string) (int, error) {
	names, err := pages(root)
	if err != nil {
		return 0, fmt.Errorf("look for pages: %w", err)
	}
	s := &site{root: root, files: map[string][]byte{}, ids: map[string]map[string]bool{}}
	if err := s.readMenu(); err != nil {
		return 0, err
	}
	for _, name := range names {
		if err := s.add(name); err != nil {
			return 0, err
		}
	}
	if err := errors.Join(s.check()...); err != nil {
		return 0, err
	}
	return len(names), s.write(out)
}

// write replaces the directory.
func (s *site) write(out string) error {
	if err := os.RemoveAll(out); err != nil {
		return fmt.Errorf("remove the former site: %w", err)
	}
	for name, text := range s.files {
		path := filepath.Join(out, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("write the site: %w", err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return fmt.Errorf("write the site: %w", err)
		}
	}
	return nil
}
