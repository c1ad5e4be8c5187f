package plugin

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// asking is the manifest of a plugin with these permissions.
func asking(p Permissions) Manifest {
	return Manifest{ID: "x", Kind: Action, Permissions: p, Configuration: Schema{
		{Name: "roots", Type: Array, Default: json.RawMessage(`["/var/log"]`)}, {Name: "server", Type: String},
	}}
}

func TestGrown(t *testing.T) {
	network := func(d ...string) Permissions { return Permissions{Network: Network{Destinations: d}} }
	everything := Permissions{Network: Network{All: true}}
	for name, c := range map[string]struct {
		before, next Permissions
		want         []string
	}{
		"nothing":                       {},
		"the same":                      {network("a:443"), network("a:443"), nil},
		"less":                          {Permissions{Read: []string{"/a", "/b"}}, Permissions{Read: []string{"/b"}}, nil},
		"another order":                 {network("a:443", "b:443"), network("b:443", "a:443"), nil},
		"a destination":                 {network("a:443"), network("a:443", "b:443"), []string{"network b:443"}},
		"another port":                  {network("a:443"), network("a:80"), []string{"network a:80"}},
		"a port of every host":          {network("a:443"), network("443"), []string{"network 443"}},
		"a host of a port":              {network("443"), network("a:443", "[::1]:443"), nil},
		"a host of another port":        {network("443"), network("a:80"), []string{"network a:80"}},
		"the whole network":             {network("443"), everything, []string{"network, every destination"}},
		"some of the whole network":     {everything, network("a:443", "80"), nil},
		"a path":                        {Permissions{}, Permissions{Read: []string{"/etc"}}, []string{"read /etc"}},
		"a path below":                  {Permissions{Read: []string{"/etc"}}, Permissions{Read: []string{"/etc/ssl"}}, nil},
		"below the root":                {Permissions{Read: []string{"/"}}, Permissions{Read: []string{"/etc"}}, nil},
		"a path above":                  {Permissions{Read: []string{"/etc/ssl"}}, Permissions{Read: []string{"/etc"}}, []string{"read /etc"}},
		"a name that begins alike":      {Permissions{Read: []string{"/etc"}}, Permissions{Read: []string{"/etc2"}}, []string{"read /etc2"}},
		"a way out":                     {Permissions{Read: []string{"/etc"}}, Permissions{Read: []string{"/etc/../root"}}, []string{"read /etc/../root"}},
		"to write what was read":        {Permissions{Read: []string{"/a"}}, Permissions{Write: []string{"/a"}}, []string{"write /a"}},
		"to read what was written":      {Permissions{Write: []string{"/a"}}, Permissions{Read: []string{"/a"}, Stat: []string{"/a"}}, nil},
		"to read what was looked at":    {Permissions{Stat: []string{"/a"}}, Permissions{Read: []string{"/a"}}, []string{"read /a"}},
		"a placeholder":                 {Permissions{}, Permissions{Read: []string{"${config.server}"}}, []string{"read ${config.server}"}},
		"the same placeholder":          {Permissions{Write: []string{"${config.roots}"}}, Permissions{Read: []string{"${config.roots}"}}, nil},
		"a placeholder is no directory": {Permissions{Read: []string{"/"}}, Permissions{Read: []string{"${config.server}"}}, []string{"read ${config.server}"}},
		"system calls are for people":   {Permissions{}, Permissions{SystemCalls: []string{"reboot"}}, nil},
	} {
		if diff := cmp.Diff(c.want, Grown(asking(c.before), asking(c.next))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(asking(c.next).Asks(), Grown(Manifest{}, asking(c.next))); diff != "" {
			t.Errorf("%s: Asks and what grew from nothing (-asks +grown):\n%s", name, diff)
		}
	}
}

// TestADefaultGrows: what a placeholder stands for where nobody writes anything is asked
// for as well, and a kind with other rights is another plugin.
func TestADefaultGrows(t *testing.T) {
	before := asking(Permissions{Read: []string{"${config.roots}"}})
	next := asking(Permissions{Read: []string{"${config.roots}"}})
	next.Configuration[0].Default = json.RawMessage(`["/"]`)
	want := []string{`read ${config.roots}, which is ["/"] unless the owner writes something`}
	if diff := cmp.Diff(want, Grown(before, next)); diff != "" {
		t.Errorf("another default (-want +got):\n%s", diff)
	}
	next = before
	next.Kind = Sensor
	if diff := cmp.Diff([]string{"to run as sensor and not as action"}, Grown(before, next)); diff != "" {
		t.Errorf("another kind (-want +got):\n%s", diff)
	}
}
