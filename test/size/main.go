package main

import (
	"cmp"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	most      = 14_000_000 // bytes of an agent without symbols
	tolerance = 250_000    // bytes that it may grow before somebody has to say why
	known     = "test/size/sizes.txt"
	shown     = 12 // packages
)

func main() {
	update := flag.Bool("update", false, "write "+known)
	flag.Parse()
	if err := run(*update); err != nil {
		fmt.Fprintln(os.Stderr, "size:", err)
		os.Exit(1)
	}
}

func run(update bool) error {
	dir, err := os.MkdirTemp("", "stavily-size-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var now []sizes
	for _, agent := range []string{"sensor-agent", "action-agent"} {
		s, err := measure(dir, agent)
		if err != nil {
			return fmt.Errorf("%s: %w", agent, err)
		}
		now = append(now, s)
	}
	if update {
		return write(known, now)
	}
	before, err := read(known)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range now {
		s.print(os.Stdout)
		errs = append(errs, s.judge(before[s.agent]))
	}
	return errors.Join(errs...)
}

// sizes is where the bytes of an agent are.
type sizes struct {
	agent    string
	file     int            // bytes, without symbols
	packages map[string]int // bytes of what the symbols name
}

func measure(dir, agent string) (sizes, error) {
	s := sizes{agent: agent, packages: map[string]int{}}
	stripped, whole := filepath.Join(dir, agent), filepath.Join(dir, agent+"-symbols")
	for out, flags := range map[string]string{stripped: "-s -w -buildid=", whole: "-buildid="} {
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", out, "./"+agent+"/cmd/"+agent)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return s, fmt.Errorf("build: %w", err)
		}
	}
	info, err := os.Stat(stripped)
	if err != nil {
		return s, err
	}
	s.file = int(info.Size())
	return s, s.count(whole)
}

// count adds up the symbols of a program.
func (s *sizes) count(program string) error {
	f, err := elf.Open(program)
	if err != nil {
		return err
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		return fmt.Errorf("read the symbols: %w", err)
	}
	for _, symbol := range symbols {
		if symbol.Name == "text/template.(*Template).Execute" || symbol.Name == "html/template.(*Template).Execute" {
			return fmt.Errorf("%s is reached, which makes the linker keep every exported method", symbol.Name)
		}
		if int(symbol.Section) >= len(f.Sections) || f.Sections[symbol.Section].Type == elf.SHT_NOBITS {
			continue
		}
		s.packages[packageOf(symbol.Name)] += int(symbol.Size)
	}
	return nil
}

// packageOf is the import path in a symbol's name.
func packageOf(symbol string) string {
	name := symbol
	for _, prefix := range []string{"type:.eq.", "type:", "go:itab."} {
		name = strings.TrimPrefix(name, prefix)
	}
	name = strings.TrimLeft(name, "*[]")
	if end := strings.IndexAny(name, "([{, "); end >= 0 {
		name = name[:end]
	}
	slash := strings.LastIndexByte(name, '/')
	dot := strings.IndexByte(name[slash+1:], '.')
	if dot <= 0 || strings.HasPrefix(name, "go:") {
		return "(rest)"
	}
	return strings.ReplaceAll(name[:slash+1+dot], "%2e", ".")
}

// judge is an error where an agent is too large, or larger than is known.
func (s *sizes) judge(before sizes) error {
	var wrong string
	switch {
	case s.file > most:
		wrong = fmt.Sprintf("has %d bytes, at most %d", s.file, most)
	case s.file > before.file+tolerance:
		wrong = fmt.Sprintf("has grown from %d to %d bytes; if that is worth it, `make size UPDATE=-update` and say why in the commit", before.file, s.file)
	default:
		return nil
	}
	text := fmt.Sprintf("%s %s. What grew:", s.agent, wrong)
	grown := map[string]int{}
	for name, size := range s.packages {
		if by := size - before.packages[name]; by > 1000 {
			grown[name] = by
		}
	}
	for _, name := range largest(grown) {
		what := "grew"
		if before.packages[name] == 0 {
			what = "new"
		}
		text += fmt.Sprintf("\n  %+9d  %s (%s)", grown[name], name, what)
	}
	return errors.New(text)
}

// largest lists the names with the largest values.
func largest(of map[string]int) []string {
	names := slices.SortedFunc(maps.Keys(of), func(a, b string) int { return cmp.Or(of[b]-of[a], strings.Compare(a, b)) })
	return names[:min(shown, len(names))]
}
