package repository

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// Place is where a repository is, in parts that can be compared.
type Place struct {
	Scheme string // https, ssh or file
	User   string // of ssh; empty: whoever ssh takes
	Host   string // with the port, if one is named; in lower case
	Path   string // absolute and clean
}

// host is a name or an address with an optional port. It never looks like an option.
var host = regexp.MustCompile(`^([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$`)

// user, of ssh, as systems allow them.
var user = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// short is the form "git@host:path" of ssh.
var short = regexp.MustCompile(`^(?:([^@/:]+)@)?([^@/:]+):([^/].*|/.*)$`)

// pathText are the characters of a path that mean themselves in a URL and to a shell on
// the other side.
var pathText = regexp.MustCompile(`^/[A-Za-z0-9._~+@=,/-]*$`)

// Parse reads the URL of a repository: https://, ssh://, git@host:path, file:// or
// an absolute path. Everything else, and everything that could mean two things, is
// refused.
func Parse(text string) (Place, error) {
	p, err := parse(text)
	if err == nil {
		err = p.check()
	}
	if err != nil {
		if at := strings.LastIndex(text, "@"); at >= 0 { // a password may stand before it
			text = "…" + text[at:]
		}
		return Place{}, fmt.Errorf("repository %.200q: %w", text, err)
	}
	return p, nil
}

func parse(text string) (Place, error) {
	switch {
	case text == "":
		return Place{}, errors.New("is empty")
	case strings.HasPrefix(text, "-"):
		return Place{}, errors.New("begins with '-'")
	case strings.Contains(text, "::"):
		return Place{}, errors.New("names a helper of git (\"::\"), which could be any program")
	case filepath.IsAbs(text):
		return Place{Scheme: "file", Path: filepath.ToSlash(text)}, nil
	}
	if !strings.Contains(text, "://") {
		m := short.FindStringSubmatch(text)
		if m == nil {
			return Place{}, errors.New("must begin with https:// or ssh://, or be an absolute path")
		}
		return Place{Scheme: "ssh", User: m[1], Host: strings.ToLower(m[2]), Path: "/" + strings.TrimPrefix(m[3], "/")}, nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return Place{}, errors.New("is not a URL")
	}
	_, secret := u.User.Password()
	switch {
	case secret || u.User != nil && u.Scheme != "ssh":
		return Place{}, errors.New("must not hold a user name or password: whoever reads instructions would have it")
	case strings.ContainsAny(text, "?#") || u.Opaque != "":
		return Place{}, errors.New("must end after the path, without '?' and '#'")
	case strings.Contains(text, "%"):
		return Place{}, errors.New("must not have '%' in it: write the characters themselves")
	}
	return Place{Scheme: u.Scheme, User: u.User.Username(), Host: strings.ToLower(u.Host), Path: cmp.Or(u.Path, "/")}, nil
}

func (p Place) check() error {
	local := p.Scheme == "file"
	switch {
	case p.Scheme != "https" && p.Scheme != "ssh" && !local:
		return fmt.Errorf("%q is not taken: https, ssh or an absolute path", p.Scheme)
	case local && p.Host != "":
		return errors.New("file:// is followed by an absolute path, not by a host")
	case !local && !host.MatchString(p.Host):
		return errors.New("names no host that could be")
	case p.User != "" && !user.MatchString(p.User):
		return errors.New("names no user that could be")
	case strings.ContainsFunc(p.Path, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("has control characters in its path")
	case local && strings.ContainsAny(p.Path, "?#%"):
		return errors.New("must not have '?', '#' or '%' in its path, which mean something else in a URL")
	case !local && !pathText.MatchString(p.Path):
		return errors.New("may have letters, digits and . _ ~ + @ = , / - in its path")
	case trim(p.Path) != path.Clean(p.Path) && trim(p.Path) != "":
		return errors.New("must be written without '..', '.' and '//' in its path")
	case strings.Contains(p.Path, "/-"):
		return errors.New("has a name that begins with '-' in its path")
	}
	return nil
}

func trim(p string) string { return strings.TrimSuffix(p, "/") }

// URL is the place as git is given it.
func (p Place) URL() string {
	switch {
	case p.Scheme == "file":
		if runtime.GOOS == "windows" {
			return "file:///" + strings.TrimPrefix(p.Path, "/")
		}
		return "file://" + p.Path
	case p.User != "":
		return p.Scheme + "://" + p.User + "@" + p.Host + p.Path
	}
	return p.Scheme + "://" + p.Host + p.Path
}

// below reports whether p is dir or something below it. That ".git" ends the name of a
// repository, or not, makes no other of it.
func (p Place) below(dir Place) bool {
	if p.Scheme != dir.Scheme || p.User != dir.User || p.Host != dir.Host {
		return false
	}
	whole, top := trim(p.Path), trim(dir.Path)
	return whole == top || strings.HasPrefix(whole, top+"/") || strings.TrimSuffix(whole, ".git") == strings.TrimSuffix(top, ".git")
}

// ErrNotAllowed is wrapped where the host's owner has not allowed a repository.
var ErrNotAllowed = errors.New("plugins.sources does not allow it")

// Allowed finds out whether one of the allowed places is the repository's or above it.
func Allowed(repository string, allowed []string) (Place, error) {
	p, err := Parse(repository)
	if err != nil {
		return Place{}, err
	}
	for _, text := range allowed {
		if dir, err := Parse(text); err == nil && p.below(dir) {
			return p, nil
		}
	}
	if len(allowed) == 0 {
		return Place{}, fmt.Errorf("repository %s: %w: it is empty, and so no repository is; add this one, or the URL that it is below, to install from it", p.URL(), ErrNotAllowed)
	}
	return Place{}, fmt.Errorf("repository %s: %w, which has %s; add this one to install from it", p.URL(), ErrNotAllowed, strings.Join(allowed, ", "))
}
