package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

// minWatch keeps a mistake in --interval from being a load.
const minWatch = 100 * time.Millisecond

// addWatch gives --watch to every command that lists or shows what a server has.
func addWatch(c *cobra.Command) {
	if c.Name() == "context" { // which is a file's here
		return
	}
	for _, sub := range c.Commands() {
		addWatch(sub)
	}
	if name := c.Name(); name != "list" && name != "show" {
		return
	}
	var watch bool
	interval := 2 * time.Second
	c.Flags().BoolVar(&watch, "watch", false, "show it again when it changes, until interrupted")
	c.Flags().DurationVar(&interval, "interval", interval, "how often --watch looks")
	if c.Flags().Lookup("follow") != nil {
		c.MarkFlagsMutuallyExclusive("watch", "follow")
	}
	once := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if !watch {
			return once(cmd, args)
		}
		if interval < minWatch {
			return usageError{fmt.Errorf("--interval %s: must be %s or more", interval, minWatch)}
		}
		return watching(cmd, interval, func() error { return once(cmd, args) })
	}
}

// watching runs show again and again and prints what it says when that is new. A terminal
// has only the newest; elsewhere what is new comes after an empty line. A server that is
// away for a while is told on standard error.
func watching(cmd *cobra.Command, interval time.Duration, show func() error) error {
	out := cmd.OutOrStdout()
	defer cmd.SetOut(out)
	var before []byte
	for {
		var text bytes.Buffer
		cmd.SetOut(&text)
		err := show()
		switch {
		case err != nil && (before == nil || !errors.Is(err, operatorapi.ErrUnreachable)):
			return err
		case err != nil:
			say(cmd.ErrOrStderr(), err.Error())
		case !bytes.Equal(before, text.Bytes()):
			if err := redraw(out, before != nil, text.Bytes()); err != nil {
				return err
			}
			before = text.Bytes()
		}
		select {
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		case <-time.After(interval):
		}
	}
}

func redraw(out io.Writer, again bool, text []byte) error {
	const clear = "\x1b[H\x1b[2J\x1b[3J"
	var head string
	switch {
	case isTerminal(out):
		head = clear
	case again:
		head = "\n"
	}
	_, err := io.WriteString(out, head+string(text))
	return err
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
