package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// maxProgram is far above any of ours.
const maxProgram = 256 << 20

func main() {
	bin := flag.String("bin", "bin", "directory of the programs")
	dist := flag.String("dist", "dist", "directory of what is made")
	epoch := flag.Int64("epoch", 0, "time of the entries of archives, seconds since 1970")
	sums := flag.Bool("sums", false, "only write SHA256SUMS of what is in -dist")
	flag.Parse()
	run := func() error { return packAll(*bin, *dist, time.Unix(*epoch, 0).UTC()) }
	if *sums {
		run = func() error { return checksums(*dist) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "package:", err)
		os.Exit(1)
	}
}

// program is one built program.
type program struct {
	file string // its name in -bin
	name string // without system and processor
	exe  bool
	text []byte
}

var platform = regexp.MustCompile(`^([a-z-]+)-(linux|darwin|windows)-(amd64|arm64)(\.exe)?$`)

func packAll(bin, dist string, at time.Time) error {
	entries, err := os.ReadDir(bin)
	if err != nil {
		return err
	}
	made := 0
	for _, e := range entries {
		m := platform.FindStringSubmatch(e.Name())
		if m == nil {
			continue // what was built for this machine alone
		}
		text, err := limits.ReadFile(filepath.Join(bin, e.Name()), maxProgram)
		if err != nil {
			return err
		}
		if err := pack(program{e.Name(), m[1], m[4] != "", text}, dist, at); err != nil {
			return fmt.Errorf("%s: %w", e.Name(), err)
		}
		made++
	}
	if made == 0 {
		return fmt.Errorf("%s has no program for a platform: make build-all first", bin)
	}
	return nil
}

func pack(p program, dist string, at time.Time) error {
	bill, err := billOf(p, at)
	if err != nil {
		return err
	}
	files := []entry{{p.name + map[bool]string{true: ".exe"}[p.exe], 0o755, p.text}}
	for name, source := range map[string]string{"LICENSE": "LICENSE", "INSTALL.md": "docs/install.md", "reference.yaml": "configs/reference.yaml"} {
		if p.name == "stavily" && name != "LICENSE" {
			continue // those are about agents
		}
		text, err := limits.ReadFile(source, 1<<20)
		if err != nil {
			return err
		}
		files = append(files, entry{name, 0o644, text})
	}
	archive, suffix := tarball, ".tar.gz"
	if p.exe {
		archive, suffix = zipped, ".zip"
	}
	packed, err := archive(files, at)
	if err != nil {
		return err
	}
	base := strings.TrimSuffix(p.file, ".exe")
	return errors.Join(
		write(filepath.Join(dist, p.file), p.text, 0o755),
		write(filepath.Join(dist, base+suffix), packed, 0o644),
		write(filepath.Join(dist, p.file+".cdx.json"), bill, 0o644),
	)
}

// write makes a file with mode whatever the umask.
func write(path string, text []byte, mode os.FileMode) error {
	return errors.Join(os.WriteFile(path, text, mode), os.Chmod(path, mode))
}

const sumsFile = "SHA256SUMS"

// checksums writes what `sha256sum --check` reads.
func checksums(dist string) error {
	entries, err := os.ReadDir(dist)
	if err != nil {
		return err
	}
	var out strings.Builder
	for _, e := range entries {
		if e.Name() == sumsFile || !e.Type().IsRegular() {
			continue
		}
		text, err := limits.ReadFile(filepath.Join(dist, e.Name()), maxProgram)
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "%x  %s\n", sha256.Sum256(text), e.Name())
	}
	return write(filepath.Join(dist, sumsFile), []byte(out.String()), 0o644)
}
