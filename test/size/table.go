package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/stavily/agents/internal/limits"
)

// file is the row of a table that is the size of the whole file.
const file = "(file)"

// listed is the least that a package has to have for a row of its own in the table.
const listed = 4096

func (s *sizes) print(w io.Writer) {
	fmt.Fprintf(w, "%s: %.2f MB, at most %.0f\n", s.agent, float64(s.file)/1e6, float64(most)/1e6)
	for _, name := range largest(s.packages) {
		fmt.Fprintf(w, "  %9d  %s\n", s.packages[name], name)
	}
}

// write makes the table of what is known: agent, package, bytes.
func write(path string, all []sizes) error {
	var text strings.Builder
	for _, s := range all {
		fmt.Fprintf(&text, "%s\t%s\t%d\n", s.agent, file, s.file)
		for _, name := range slices.Sorted(maps.Keys(s.packages)) {
			if size := s.packages[name]; size >= listed {
				fmt.Fprintf(&text, "%s\t%s\t%d\n", s.agent, name, size)
			}
		}
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}

func read(path string) (map[string]sizes, error) {
	text, err := limits.ReadFile(path, 1<<20)
	if err != nil {
		return nil, err
	}
	all := map[string]sizes{}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		fields := strings.Split(strings.TrimSpace(line), "\t")
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s, line %d: is not agent, package, bytes: write it anew with -update", path, number)
		}
		size, err := strconv.Atoi(fields[2])
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, number, err)
		}
		s, ok := all[fields[0]]
		if !ok {
			s = sizes{agent: fields[0], packages: map[string]int{}}
		}
		if fields[1] == file {
			s.file = size
		} else {
			s.packages[fields[1]] = size
		}
		all[fields[0]] = s
	}
	return all, nil
}
