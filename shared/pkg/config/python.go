package config

import (
	"net/url"
	"path/filepath"
	"strings"
)

// Python says what runs Python plugins and where the packages come from that they
// require: from the plugin's own wheels and WheelDir and, where that is not enough,
// from the index.
type Python struct {
	Interpreter    string   `yaml:"interpreter"`     // Python 3.8 or newer: a name in PATH, or an absolute path; taken where it fits
	Interpreters   []string `yaml:"interpreters"`    // others, for plugins that it does not fit; empty: python3.14 to python3.8 in PATH
	WheelDir       string   `yaml:"wheel_dir"`       // a directory of wheels for all plugins, besides their own; empty: none
	IndexURL       Secret   `yaml:"index_url"`       // a package index, which may hold a user and password; empty: nothing is fetched
	AllowSdist     bool     `yaml:"allow_sdist"`     // whether source packages are built, which runs their code in the sandbox
	SystemPackages bool     `yaml:"system_packages"` // whether every plugin sees the packages of the system, not only those whose manifest says so
}

const defaultInterpreter = "python3"

func (p *Python) check(ps *problems) {
	const form = "a name in PATH or an absolute path"
	ps.require(isProgram(p.Interpreter), "plugins.python.interpreter", p.Interpreter, form)
	for _, name := range p.Interpreters {
		ps.require(isProgram(name), "plugins.python.interpreters", name, form)
	}
	ps.require(p.WheelDir == "" || filepath.IsAbs(p.WheelDir), "plugins.python.wheel_dir", p.WheelDir, "an absolute path")
	ps.require(isIndex(p.IndexURL.Reveal()), "plugins.python.index_url", p.IndexURL, "the https:// URL of a package index, for example https://pypi.org/simple (http:// only to this host)")
}

func isProgram(name string) bool {
	return name != "" && (filepath.IsAbs(name) || !strings.ContainsAny(name, `/\`))
}

// isIndex keeps out what is no URL, and line breaks, which would say more than one
// thing to pip. A password must not cross the network for all to see.
func isIndex(text string) bool {
	if text == "" {
		return true
	}
	u, err := url.Parse(text)
	if err != nil || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || invisible(r) }) || u.Host == "" || !isPort(u) {
		return false
	}
	local := u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1"
	return u.Scheme == "https" || u.Scheme == "http" && local
}
