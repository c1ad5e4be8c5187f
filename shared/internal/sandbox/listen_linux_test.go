package sandbox

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// greet answers every connection with a text until the listener is closed.
func greet(text string) func(net.Listener) {
	return func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, text) // the plugin says what came
			c.Close()
		}
	}
}

const reaches = `
import socket
def reach(host, port):
    try:
        with socket.create_connection((host, port), 2) as s:
            return s.makefile().read()
    except OSError as e:
        return type(e).__name__
for place in [("api.example.com", 443), ("api.example.com", 22), ("192.0.2.7", 22), ("2001:db8::1", 443), ("127.0.0.1", 8080), ("localhost", 8080)]:
    print(*place, reach(*place))
for place in [("api.example.com", 80), ("other.example.com", 443), ("127.0.0.1", 9), ("169.254.169.254", 80), ("2001:db8::2", 443)]:
    print(*place, reach(*place) in ("ConnectionRefusedError", "gaierror", "OSError", "PermissionError"))
`

// Unmodified code reaches what it was granted under its own names and addresses, through
// the agent, and nothing else.
func TestDestinations(t *testing.T) {
	h := probed(t)
	s := script(t, reaches)
	confine(t, &s, h, Full)
	at := func(name, address string, port uint16) {
		s.Network.Listen = append(s.Network.Listen, Listen{name, netip.MustParseAddr(address), port, greet("hello from " + name)})
	}
	at("192.0.2.7", "192.0.2.7", 22)
	at("2001:db8::1", "2001:db8::1", 443)
	at("api.example.com", "127.0.1.1", 22)
	at("api.example.com", "127.0.1.1", 443)
	at("localhost", "127.0.0.1", 8080)
	r := start(t, s)
	exit, err := r.Wait()
	want := `api.example.com 443 hello from api.example.com
api.example.com 22 hello from api.example.com
192.0.2.7 22 hello from 192.0.2.7
2001:db8::1 443 hello from 2001:db8::1
127.0.0.1 8080 hello from localhost
localhost 8080 hello from localhost
api.example.com 80 True
other.example.com 443 True
127.0.0.1 9 True
169.254.169.254 80 True
2001:db8::2 443 True
`
	if got := r.output(); got != want || err != nil || !exit.Success() {
		t.Errorf("%v %v, said\n%s\nwant\n%s", exit, err, got, want)
	}
}

func TestHostsFile(t *testing.T) {
	a := netip.MustParseAddr
	got := hostsOf([]Listen{{"192.0.2.7", a("192.0.2.7"), 22, nil}, {"b", a("127.0.1.1"), 1, nil}, {"b", a("127.0.1.1"), 2, nil}, {"c", a("127.0.1.2"), 1, nil}, {"localhost", a("127.0.0.1"), 3, nil}})
	if want := "127.0.0.1 localhost\n127.0.1.1 b\n127.0.1.2 c\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestListenersAreChecked(t *testing.T) {
	h := probed(t)
	s := script(t, "pass")
	confine(t, &s, h, Full)
	s.Network.Listen = []Listen{{Name: "a", Port: 1}}
	if _, err := Start(t.Context(), s); err == nil || !strings.Contains(err.Error(), "needs an address") {
		t.Errorf("err = %v", err)
	}
}
