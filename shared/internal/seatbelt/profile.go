package seatbelt

import (
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Program is what reads profiles. It is part of macOS.
const Program = "/usr/bin/sandbox-exec"

// Policy is what a process may do. Paths are absolute and free of symbolic links.
type Policy struct {
	Read, Write []string // files and directories with all in them; writing includes reading
	Masks       []string // directories that what is granted above them does not include
	Socket      string   // a Unix socket that it may connect to; may be empty

	Network bool     // whatever the host reaches
	Ports   []uint16 // TCP to any address on these
}

// base is what every profile begins with.
//
//go:embed base.sb
var base string

// names is what it takes to find hosts by name and to check certificates.
//
//go:embed network.sb
var names string

// Command gives the arguments, beginning with the program's name, with which Program
// runs the command under the policy. The command begins with the program's path.
func (p Policy) Command(command []string) []string {
	text, params := p.profile()
	out := []string{path.Base(Program), "-p", text}
	for i, value := range params {
		out = append(out, "-D", param(i)+"="+value)
	}
	return append(out, command...)
}

func param(i int) string { return "P" + strconv.Itoa(i) }

// rule decides about one path.
type rule struct {
	path   string
	order  int // of rules for the same path the highest decides
	effect string
}

const (
	reads  = "(allow file-read* process-exec* (subpath %s))"
	writes = "(allow file-read* file-write* process-exec* (subpath %s))"
	denies = "(deny file-read* file-write* process-exec* (subpath %s))"
	looks  = "(allow file-read-metadata (literal %s))"
	talks  = "(allow network-outbound (literal %s))"
)

// profile gives the text and the values of its parameters.
func (p Policy) profile() (string, []string) {
	var b strings.Builder
	b.WriteString(base)
	params := []string{}
	for _, r := range p.rules() {
		i := slices.Index(params, r.path)
		if i < 0 {
			i = len(params)
			params = append(params, r.path)
		}
		fmt.Fprintf(&b, r.effect+"\n", `(param "`+param(i)+`")`)
	}
	// A file that runs as somebody else would give its identity to whoever runs it.
	b.WriteString("(deny file-write-setugid)\n")
	switch {
	case p.Network:
		b.WriteString("\n" + names + "(allow network*)\n")
	case len(p.Ports) > 0:
		b.WriteString("\n" + names)
		for _, port := range slices.Compact(slices.Sorted(slices.Values(p.Ports))) {
			fmt.Fprintf(&b, "(allow network-outbound (remote tcp \"*:%d\"))\n", port)
		}
	}
	return b.String(), params
}

// rules are in the order in which they are written: from the root down.
func (p Policy) rules() []rule {
	var out []rule
	add := func(paths []string, order int, effect string) {
		for _, path := range paths {
			out = append(out, rule{path, order, effect})
		}
	}
	add(p.Read, 1, reads)
	add(p.Write, 2, writes)
	add(p.Masks, 3, denies)
	// The way to a path is looked at by whoever resolves links in it. It comes after
	// masks on that way, since it gives away no more than that there is a way.
	for _, path := range slices.Concat(p.Read, p.Write, []string{p.Socket}) {
		add(ancestors(path), 4, looks)
	}
	if p.Socket != "" {
		add([]string{p.Socket}, 5, talks)
	}
	slices.SortStableFunc(out, func(a, b rule) int {
		if n := depth(a.path) - depth(b.path); n != 0 {
			return n
		}
		if n := strings.Compare(a.path, b.path); n != 0 {
			return n
		}
		return a.order - b.order
	})
	return slices.Compact(out)
}

// depth counts the directories that lead to a path.
func depth(p string) int {
	if p == "/" {
		return 0
	}
	return strings.Count(p, "/")
}

// ancestors are the directories that lead to a path, from the root.
func ancestors(p string) []string {
	var out []string
	for p != "/" && p != "" && p != "." {
		p = path.Dir(p)
		out = append(out, p)
	}
	slices.Reverse(out)
	return out
}
