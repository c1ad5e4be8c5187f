package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/terminal"
	"github.com/stavily/agents/shared/pkg/api"
)

// maxLogLine is far above what one line of a plugin's log has.
const maxLogLine = 64 << 10

// followPause is between two looks at a log that is followed.
const followPause = 250 * time.Millisecond

func (c *pluginCommands) logs() *cobra.Command {
	follow, most := false, 0
	cmd := &cobra.Command{
		Use: "logs PLUGIN", Short: "Print the end of a plugin's log, whether the agent runs or not", Args: exactArgs(1),
		Example: c.example("% logs disk-cleaner\n% logs -f -n 10 disk-cleaner"),
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "print what comes, until Ctrl-C")
	cmd.Flags().IntVarP(&most, "lines", "n", 100, "lines of the end to begin with")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := api.PluginID(args[0]).Validate(); err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		if most < 0 {
			return fmt.Errorf("%w: --lines %d: must be 0 or more", errUsage, most)
		}
		loaded, err := c.load()
		if err != nil {
			return err
		}
		path := filepath.Join(loaded.Config.Agent.BaseDir, "logs", "plugins", args[0]+".log")
		err = printLog(cmd.Context(), path, most, follow, cmd.OutOrStdout())
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("plugin %s has written no log on this host (%s is missing): see `%s plugins list`", args[0], path, c.role.Program)
		}
		return err
	}
	return cmd
}

// printLog prints the last lines of a log and, where it is followed, what comes, also
// after the file was rotated.
func printLog(ctx context.Context, path string, most int, follow bool, out io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	if err := skipTo(f, most); err != nil {
		return err
	}
	for {
		if err := printLines(f, out); err != nil || !follow {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followPause):
		}
		next, err := os.Open(path)
		if err != nil {
			continue // it is being rotated
		}
		if sameFile(f, next) {
			next.Close()
			continue
		}
		if err := printLines(f, out); err != nil { // what came before the rotation
			return errors.Join(err, next.Close())
		}
		f.Close()
		f = next
	}
}

func sameFile(a, b *os.File) bool {
	x, errX := a.Stat()
	y, errY := b.Stat()
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// skipTo leaves at most most lines before the end of the file.
func skipTo(f *os.File, most int) error {
	lines := limits.NewLineReader(f, maxLogLine)
	total := 0
	for {
		if _, _, err := lines.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		total++
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	at, err := offsetOf(f, max(total-most, 0))
	if err != nil {
		return err
	}
	_, err = f.Seek(at, io.SeekStart)
	return err
}

// offsetOf is where the line with this number, from 0, begins.
func offsetOf(r io.Reader, line int) (int64, error) {
	at := int64(0)
	block := make([]byte, 64<<10)
	for line > 0 {
		n, err := r.Read(block)
		for i := range n {
			at++
			if block[i] == '\n' {
				if line--; line == 0 {
					return at, nil
				}
			}
		}
		if err != nil {
			return at, err
		}
	}
	return at, nil
}

// printLines prints the whole lines that there are from here on. What a plugin wrote
// cannot move the cursor.
func printLines(f *os.File, out io.Writer) error {
	for {
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		block := make([]byte, maxLogLine)
		n, err := io.ReadFull(f, block)
		if n == 0 && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
			return nil
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return err
		}
		whole := lastLine(block[:n])
		if whole == 0 {
			if n < len(block) { // half a line: the rest comes
				_, err := f.Seek(at, io.SeekStart)
				return err
			}
			whole = n
		}
		if _, err := io.WriteString(out, terminal.Printable(string(block[:whole]))); err != nil {
			return err
		}
		if _, err := f.Seek(at+int64(whole), io.SeekStart); err != nil {
			return err
		}
	}
}

// lastLine is how much of a block is whole lines.
func lastLine(block []byte) int {
	for i := len(block); i > 0; i-- {
		if block[i-1] == '\n' {
			return i
		}
	}
	return 0
}
