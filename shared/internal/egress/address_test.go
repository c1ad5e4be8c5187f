package egress

import (
	"net/netip"
	"testing"
)

func TestClassify(t *testing.T) {
	for text, want := range map[string]class{
		"1.1.1.1": public, "2606:4700::1111": public, "172.32.0.1": public, "100.128.0.1": public, "126.255.255.255": public, "223.255.255.255": public,
		"10.0.0.1": private, "172.16.0.1": private, "172.31.255.255": private, "192.168.1.1": private, "100.64.0.1": private, "fd12::1": private, "fec0::1": private,
		"192.0.2.1": private, "198.18.0.1": private, "2001:db8::1": private,
		"127.0.0.1": loopback, "127.255.255.254": loopback, "::1": loopback,
		"169.254.169.254": metadata, "fe80::1": metadata, "fe80::1%lo": metadata, "fd00:ec2::254": metadata, "100.100.100.200": metadata, "168.63.129.16": metadata,
		"0.0.0.0": nowhere, "0.1.2.3": nowhere, "::": nowhere, "224.0.0.1": nowhere, "239.1.1.1": nowhere, "255.255.255.255": nowhere, "240.0.0.1": nowhere, "ff02::1": nowhere,
		// IPv4 in other clothes
		"::ffff:10.0.0.1": private, "::ffff:169.254.169.254": metadata, "::ffff:127.0.0.1": loopback, "::ffff:1.1.1.1": public,
		"::10.0.0.1": private, "::127.0.0.1": loopback,
		"64:ff9b::169.254.169.254": metadata, "64:ff9b::10.0.0.1": private, "64:ff9b::1.1.1.1": public, "64:ff9b:1::1.1.1.1": private,
		"2002:7f00:1::1": loopback, "2002:a9fe:a9fe::": metadata, "2002:101:101::1": public, "2001:0:1::": private,
		"2606:4700::5efe:10.0.0.1": private, "2606:4700::200:5efe:169.254.169.254": metadata, "2606:4700::5efe:1.1.1.1": public,
	} {
		if got := classify(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}

func TestAllow(t *testing.T) {
	w := ParseAllow([]string{"10.1.0.0/16", "192.168.7.7", "db.internal", "0.0.0.0/0", "not a place"})
	exact := ParseAllow([]string{"169.254.169.254", "100.64.0.0/10"})
	for _, c := range []struct {
		allow Allow
		name  string
		addr  string
		want  bool
	}{
		{Allow{}, "a", "1.1.1.1", true},
		{Allow{}, "a", "10.1.0.1", false},
		{ParseAllow([]string{"10.1.0.0/16"}), "a", "10.1.2.3", true},
		{ParseAllow([]string{"10.1.0.0/16"}), "a", "10.2.0.1", false},
		{ParseAllow([]string{"DB.internal."}), "db.internal", "10.2.0.1", true},
		{ParseAllow([]string{"db.internal"}), "x.db.internal", "10.2.0.1", false},
		{w, "db.internal", "127.0.0.1", true},
		{w, "db.internal", "169.254.169.254", false},
		{w, "a", "169.254.169.254", false}, // a wide network does not mean it
		{w, "a", "224.0.0.1", false},
		{w, "a", "192.168.7.7", true},
		{exact, "a", "169.254.169.254", true},
		{exact, "a", "169.254.0.1", false},
		{exact, "a", "100.100.100.200", false},
		{ParseAllow([]string{"224.0.0.0/4"}), "a", "224.0.0.1", false},
	} {
		a := netip.MustParseAddr(c.addr)
		if got := c.allow.permits(c.name, a, classify(a)); got != c.want {
			t.Errorf("%v: %s at %s is permitted: %v, want %v", c.allow, c.name, c.addr, got, c.want)
		}
	}
}

// Whatever an address carries, judging ends and the inner one decides.
func FuzzClassify(f *testing.F) {
	f.Add([]byte("\x00d\xff\x9b\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		if inner, ok := embedded(a.Unmap()); ok && classify(a) == public && classify(inner) != public {
			t.Errorf("%s is public and carries %s, which is %s", a, inner, classify(inner))
		}
	})
}
