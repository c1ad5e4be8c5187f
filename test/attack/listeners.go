//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// metadataSecret is what the metadata service gives away.
const metadataSecret = "secret-credentials-of-the-machine"

// listen opens the services that an attacker would like to reach. Each tells w.seen
// what it hears.
func (w *host) listen() error {
	b := &w.bait
	run := filepath.Join(w.dir, "run")
	b.ServiceSocket, b.DockerSocket = filepath.Join(run, "agent.sock"), filepath.Join(run, "docker.sock")
	b.DatagramSocket = filepath.Join(run, "log")
	b.AbstractName, b.SquatName = b.Mark+"-service", b.Mark+"-squat"
	b.ListenPort, b.LowPort = 28080, 80
	var err error
	b.TCPPort, err = w.hearStream("tcp", "127.0.0.1:0", w.note)
	errs := []error{err}
	if b.TCP6Port, err = w.hearStream("tcp", "[::1]:0", w.note); err != nil {
		b.TCP6Port = 0 // no IPv6 here
	}
	b.MetadataHost = w.spec.MetadataHost
	if b.MetadataHost == "" {
		b.MetadataHost = "127.0.0.254"
	}
	b.MetadataPort, err = w.hearStream("tcp", b.MetadataHost+":0", serveMetadata)
	errs = append(errs, err)
	for _, address := range []string{b.ServiceSocket, b.DockerSocket, "@" + b.AbstractName} {
		_, err := w.hearStream("unix", address, w.note)
		errs = append(errs, err)
	}
	b.UDPPort, err = w.hearPackets("udp", "127.0.0.1:0")
	errs = append(errs, err)
	b.DNSHost = "127.0.0.53"
	b.DNSPort, err = w.hearPackets("udp", b.DNSHost+":0")
	errs = append(errs, err)
	_, err = w.hearPackets("unixgram", b.DatagramSocket)
	return errors.Join(append(errs, err)...)
}

func port(a net.Addr) int {
	_, text, _ := net.SplitHostPort(a.String())
	n, _ := strconv.Atoi(text) // 0 for what has no port
	return n
}

// hearStream serves every connection by serve.
func (w *host) hearStream(network, address string, serve func(net.Conn)) (int, error) {
	l, err := net.Listen(network, address)
	if err != nil {
		return 0, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(10 * time.Second))
				serve(c)
			}()
		}
	}()
	return port(l.Addr()), nil
}

// note writes down the lines that a caller says: a mark and the name of a probe.
func (w *host) note(c net.Conn) {
	lines := limits.NewLineReader(c, 4<<10)
	for {
		line, _, err := lines.Next()
		if err != nil {
			return
		}
		w.noteLine(string(line))
	}
}

func (w *host) noteLine(line string) {
	if name, ours := strings.CutPrefix(strings.TrimSpace(line), w.bait.Mark+" "); ours {
		w.seen.heard("call " + name)
	}
}

func serveMetadata(c net.Conn) {
	room := make([]byte, 1000)
	if n, err := c.Read(room); err == nil && strings.Contains(string(room[:n]), "security-credentials") {
		fmt.Fprintf(c, "HTTP/1.0 200 OK\r\n\r\n%s", metadataSecret)
	}
}

func (w *host) hearPackets(network, address string) (int, error) {
	c, err := net.ListenPacket(network, address)
	if err != nil {
		return 0, err
	}
	go func() {
		room := make([]byte, 2000)
		for {
			n, _, err := c.ReadFrom(room)
			if err != nil {
				return
			}
			w.noteLine(string(room[:n]))
			if strings.Contains(string(room[:n]), w.bait.Mark) && strings.Contains(string(room[:n]), "\x03dns\x07example") {
				w.seen.heard("call dns")
			}
		}
	}()
	return port(c.LocalAddr()), nil
}

// visit knocks at the addresses where probes may listen in place of a service, for as
// long as the world stands.
func (w *host) visit() {
	places := map[string][2]string{
		"listen_for_host":     {"tcp", "127.0.0.1:" + strconv.Itoa(w.bait.ListenPort)},
		"listen_low":          {"tcp", "127.0.0.1:" + strconv.Itoa(w.bait.LowPort)},
		"squat_abstract_name": {"unix", "@" + w.bait.SquatName},
	}
	for w.ctx.Err() == nil {
		if chosen, err := limits.ReadFile(filepath.Join(w.attackerHome(), "listening"), 16); err == nil {
			places["listen_without_bind"] = [2]string{"tcp", "127.0.0.1:" + string(chosen)}
		}
		for probe, place := range places {
			c, err := net.DialTimeout(place[0], place[1], time.Second)
			if err != nil {
				continue
			}
			c.SetDeadline(time.Now().Add(time.Second))
			if _, err := c.Read(make([]byte, 16)); err == nil {
				w.seen.heard("call " + probe)
			}
			c.Close()
		}
		// For who watches the agent's directory.
		_ = os.WriteFile(filepath.Join(w.dir, "c", "agent-"+actionAgent, "beat"), nil, 0o600)
		time.Sleep(100 * time.Millisecond)
	}
}
