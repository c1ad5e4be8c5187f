package repository

import (
	"errors"
	"strings"
	"testing"
)

func TestOnlyWhatIsAllowed(t *testing.T) {
	allowed := []string{"https://git.example.com/plugins", "ssh://git@github.com/org/", "/srv/plugins", "https://one.example.com/a/only.git"}
	for url, yes := range map[string]bool{
		"https://git.example.com/plugins":             true,
		"https://git.example.com/plugins/disk.git":    true,
		"https://GIT.example.com/plugins/disk":        true,
		"https://git.example.com/plugins-evil/x":      false,
		"https://git.example.com/":                    false,
		"https://git.example.com.evil.org/plugins/x":  false,
		"https://git.example.com:444/plugins/x":       false,
		"http://git.example.com/plugins/x":            false,
		"ssh://git.example.com/plugins/x":             false,
		"git@github.com:org/plugin.git":               true,
		"ssh://git@github.com/org/plugin":             true,
		"ssh://root@github.com/org/plugin":            false,
		"git@github.com:other/plugin.git":             false,
		"/srv/plugins/x":                              true,
		"file:///srv/plugins/x":                       true,
		"/srv/plugins-evil":                           false,
		"/srv":                                        false,
		"https://one.example.com/a/only":              true,
		"https://one.example.com/a/only.git":          true,
		"https://one.example.com/a/only.git.evil":     false,
		"https://one.example.com/a/only/../other":     false,
		"https://git.example.com/plugins/../secret/x": false,
	} {
		_, err := Allowed(url, allowed)
		if (err == nil) != yes {
			t.Errorf("Allowed(%q) = %v, want allowed: %t", url, err, yes)
		}
	}
	if _, err := Allowed("https://git.example.com/x", nil); !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), "it is empty") {
		t.Errorf("with nothing allowed: %v", err)
	}
}

func TestBadPlaces(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "is empty",
		"-oProxyCommand=touch":              "begins with '-'",
		"--upload-pack=x":                   "begins with '-'",
		"ext::sh -c touch":                  "names a helper of git",
		"fd::17":                            "names a helper of git",
		"relative/path":                     "must begin with https://",
		"http://example.com/x":              `"http" is not taken`,
		"git://example.com/x":               `"git" is not taken`,
		"ftp://example.com/x":               `"ftp" is not taken`,
		"https://user:secret@example.com/x": "must not hold a user name or password",
		"https://token@example.com/x":       "must not hold a user name or password",
		"https://example.com/x?a=b":         "must end after the path",
		"https://example.com/x#frag":        "must end after the path",
		"https://example.com/%2e%2e/x":      "must not have '%'",
		"https://example.com/a/../b":        "must be written without '..'",
		"https://example.com//b":            "must be written without '..'",
		"https://example.com/-x/y":          "begins with '-' in its path",
		"https:///x":                        "names no host",
		"https://-x/y":                      "names no host",
		"ssh://-oProxyCommand=touch/x":      "names no host",
		"-x@host:path":                      "begins with '-'",
		"ssh://-x@host/path":                "names no user",
		"host:-path":                        "begins with '-' in its path",
		"ssh://host/a b":                    "may have letters",
		"ssh://host/$(touch x)":             "may have letters",
		"ssh://host/a;b":                    "may have letters",
		"file://host/x":                     "not by a host",
		"/srv/\nx":                          "control characters",
		"/srv/../etc":                       "must be written without '..'",
		"https://exa\u0000mple.com/x":       "is not a URL",
		"https://ex\u0430mple.com/x":        "names no host",
	} {
		if p, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) = %+v, %v; want %s", text, p, err, want)
		} else if strings.Contains(text, "secret") && strings.Contains(err.Error(), "secret") {
			t.Errorf("the password is repeated: %v", err)
		}
	}
}

func FuzzPlace(f *testing.F) {
	for _, seed := range []string{"https://example.com/x.git", "git@host:org/x", "/srv/x", "ssh://u@h:22/x", "/\xe0\xff#", "file:///x#", "/a?b%20"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(p.URL())
		if err != nil || again != p {
			t.Errorf("%q is %+v, whose URL %q is %+v, %v", text, p, p.URL(), again, err)
		}
		if strings.HasPrefix(p.URL(), "-") || strings.ContainsAny(p.URL(), "\x00\n") {
			t.Errorf("%q gives %q", text, p.URL())
		}
	})
}
