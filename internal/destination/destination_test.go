package destination

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"443":                   "443",
		"API.Example.com.:443":  "api.example.com:443",
		"a_b-c.d:1":             "a_b-c.d:1",
		"localhost:65535":       "localhost:65535",
		"192.0.2.7:22":          "192.0.2.7:22",
		"[2001:DB8:0::1]:443":   "[2001:db8::1]:443",
		"[::ffff:10.0.0.1]:443": "10.0.0.1:443",

		"":                    `"" must be "host:port" or "port", with a port from 1 to 65535`,
		"0":                   `"0" must be "host:port" or "port", with a port from 1 to 65535`,
		"host:65536":          `"host:65536" must be "host:port" or "port", with a port from 1 to 65535`,
		"host:https":          `"host:https" must be "host:port" or "port", with a port from 1 to 65535`,
		":443":                `":443" must be "host:port" or "port", with an IPv6 address in brackets`,
		"2001:db8::1:443":     `"2001:db8::1:443" must be "host:port" or "port", with an IPv6 address in brackets`,
		"https://h":           `"https://h" must be "host:port" or "port", with a port from 1 to 65535`,
		"*.example.com:443":   `"*.example.com": wildcards are not taken: name each host`,
		"*:443":               `"*": wildcards are not taken: name each host`,
		"[fe80::1%eth0]:22":   `"fe80::1%eth0": an address with a zone means another host on each machine: leave it out`,
		"127.1:80":            `"127.1" looks like an address and is none: write all four numbers, in decimal and without leading zeros`,
		"2130706433:80":       `"2130706433" looks like an address and is none: write all four numbers, in decimal and without leading zeros`,
		"0x7f.0.0.0x1:80":     `"0x7f.0.0.0x1" looks like an address and is none: write all four numbers, in decimal and without leading zeros`,
		"010.0.0.1:80":        `"010.0.0.1" looks like an address and is none: write all four numbers, in decimal and without leading zeros`,
		"1.2.3.09:80":         `"1.2.3.09" looks like an address and is none: write all four numbers, in decimal and without leading zeros`,
		"bücher.example:80":   `"bücher.example" is not a host name or address: names are of a-z, 0-9, '-' and '_' (in ASCII: xn--… where they are not)`,
		"a..b:80":             `"a..b" is not a host name or address: names are of a-z, 0-9, '-' and '_' (in ASCII: xn--… where they are not)`,
		"-a.b:80":             `"-a.b" is not a host name or address: names are of a-z, 0-9, '-' and '_' (in ASCII: xn--… where they are not)`,
		"a b:80":              `"a b" is not a host name or address: names are of a-z, 0-9, '-' and '_' (in ASCII: xn--… where they are not)`,
		"a\x00b:80":           `"a\x00b" is not a host name or address: names are of a-z, 0-9, '-' and '_' (in ASCII: xn--… where they are not)`,
		"a\nb:80":             `"a\nb" is not a host name or address: names are of a-z, 0-9, '-' and '_' (in ASCII: xn--… where they are not)`,
		"${config.url}":       `"${config.url}" must be "host:port" or "port", with a port from 1 to 65535`,
		"user@example.com:25": `"user@example.com" is not a host name or address: names are of a-z, 0-9, '-' and '_' (in ASCII: xn--… where they are not)`,
	} {
		d, err := Parse(in)
		got := d.String()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("Parse(%q)\n got %s\nwant %s", in, got, want)
		}
	}
	if _, err := Parse(strings.Repeat("a.", 127) + "com:1"); err == nil {
		t.Error("a name of 257 characters is taken")
	}
}

func TestFromURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://Hooks.example.com/services/T0/B0/geheim": "hooks.example.com:443",
		"http://192.0.2.7":                     "192.0.2.7:80",
		"HTTPS://[2001:db8::1]:8443/x":         "[2001:db8::1]:8443",
		"https://user:geheim@example.com:444/": "example.com:444",
		"postgres://db:5432/x":                 "db:5432",

		"postgres://db/geheim":    `is a URL of scheme "postgres", which has no port of its own: write the port`,
		"example.com/geheim":      "is a URL without a host",
		"https://:443/geheim":     "is a URL without a host",
		"https://h:0/geheim":      "is a URL whose port is not from 1 to 65535",
		"https://h:99999/geheim":  "is a URL whose port is not from 1 to 65535",
		"https://h:x/geheim":      "is not a URL",
		"http://127.1/geheim":     `"127.1" looks like an address and is none: write all four numbers, in decimal and without leading zeros`,
		"http://*.example.com/":   `"*.example.com": wildcards are not taken: name each host`,
		"https://[fe80::1%25lo]/": `"fe80::1%lo": an address with a zone means another host on each machine: leave it out`,
	} {
		d, err := FromURL(in)
		got := d.String()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("FromURL(%q)\n got %s\nwant %s", in, got, want)
		}
		if strings.Contains(got, "geheim") {
			t.Errorf("FromURL(%q) tells the secret: %s", in, got)
		}
	}
}

func TestAddr(t *testing.T) {
	if a, ok := (Destination{Host: "192.0.2.7"}).Addr(); !ok || a != netip.MustParseAddr("192.0.2.7") {
		t.Errorf("Addr = %v, %v", a, ok)
	}
	for _, host := range []string{"", "example.com"} {
		if a, ok := (Destination{Host: host}).Addr(); ok {
			t.Errorf("Addr of %q = %v, want none", host, a)
		}
	}
}

func ExampleParse() {
	d, err := Parse("API.example.com:443")
	fmt.Println(d, err)
	// Output: api.example.com:443 <nil>
}

// What is accepted has one form, and reading it again changes nothing.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"443", "a.b:1", "[::1]:2", "1.2.3.4:5", "0x1:1", "*:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(d.String())
		if err != nil || again != d {
			t.Errorf("Parse(%q) = %v, and that is read as %v, %v", s, d, again, err)
		}
	})
}
