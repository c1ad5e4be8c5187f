package kit

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// running starts `plugin run` and gives its lines as they come.
func running(t *testing.T, args ...string) (out *bufio.Scanner, stop func(), ended <-chan error) {
	t.Helper()
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	root := &cobra.Command{Use: "stavily", SilenceErrors: true, SilenceUsage: true}
	root.PersistentFlags().StringP("output", "o", "table", "")
	root.AddCommand(Commands()...)
	root.SetOut(w)
	root.SetArgs(append([]string{"plugin", "run", "--python", python()}, args...))
	done := make(chan error, 1)
	go func() {
		done <- root.ExecuteContext(ctx)
		w.Close()
	}()
	return bufio.NewScanner(r), cancel, done
}

// A sensor runs until it is stopped; what it emits and logs is seen as it happens.
func TestRunShowsASensorLive(t *testing.T) {
	dir := pluginDir(t, map[string]string{"plugin.yaml": sensorManifest, "main.py": sensing("kept.append(1)\nlog.warning('look %d', len(kept))\nemit('seen', data={'n': len(kept)}, key='k')\nprint('\\x1b[2J')")})
	out, stop, ended := running(t, dir, "--interval", "20ms")
	seen := map[string]bool{}
	stopped := false
	for out.Scan() {
		line := out.Text()
		if strings.Contains(line, "\x1b") {
			t.Errorf("a control character reaches the terminal: %q", line)
		}
		for _, want := range []string{"tried 1.0.0, sandbox ", "a look every 20ms", "warn: look 2", `seen  severity=medium key=k {"n":3}`, `\x1b[2J`, "state     stopped"} {
			seen[want] = seen[want] || strings.Contains(line, want)
		}
		if strings.Contains(line, `{"n":3}`) && !stopped {
			stopped = true
			stop()
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(seen) == 0 {
		t.Error("nothing was printed")
	}
	for want, found := range seen {
		if !found {
			t.Errorf("was not printed: %s", want)
		}
	}
}

// An action runs once; its result decides, and as JSON each line is one.
func TestRunShowsAnAction(t *testing.T) {
	dir := pluginDir(t, map[string]string{
		"plugin.yaml": actionManifest + "parameters: {n: {type: integer, required: true}}\n",
		"main.py":     acting("ctx.progress(50, 'half')\nif params.n > 1: raise stavily.Failed('too many')\nreturn {'n': params.n}"),
	})
	out, _, ended := running(t, dir, "--param", "n=1", "-o", "json")
	var whats []string
	for out.Scan() {
		var h struct {
			What, Text string
			Data       struct{ Result json.RawMessage }
		}
		if err := json.Unmarshal(out.Bytes(), &h); err != nil {
			t.Errorf("%v: %s", err, out.Text())
		}
		whats = append(whats, h.What)
		if h.What == "result" && string(h.Data.Result) != `{"n":1}` {
			t.Errorf("result %s", h.Data.Result)
		}
	}
	if err := <-ended; err != nil || !strings.Contains(strings.Join(whats, " "), "progress") || whats[len(whats)-1] != "result" {
		t.Errorf("%v, %v", whats, err)
	}
	for says, param := range map[string]string{"ended as failed": "n=2", "n is required": ""} {
		args := []string{dir}
		if param != "" {
			args = append(args, "--param", param)
		}
		out, _, ended := running(t, args...)
		for out.Scan() {
		}
		if err := <-ended; err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", param, err)
		}
	}
}
