package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

// Sizes of the disks of scenario full (R11).
const (
	agentDisk  = "size=8m"
	serverDisk = "size=64m"
)

// recovery is how long a process may take to work again once its disk has room.
const recovery = 10 * time.Second

// ballast is what fills a disk.
const ballast = "ballast"

// disk is where a process keeps everything.
func (w *world) disk(whom string) string {
	if whom == cluster.ServerName {
		return w.DataDir()
	}
	return filepath.Join(w.dir, "agent-"+whom)
}

// smallDisks gives each process a disk of its own.
func (w *world) smallDisks() error {
	for whom, size := range map[string]string{sensorID: agentDisk, actionID: agentDisk, cluster.ServerName: serverDisk} {
		path := w.disk(whom)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", path, "tmpfs", 0, size+",mode=700"); err != nil {
			return fmt.Errorf("a small disk for %s, which takes root: %w", whom, err)
		}
		w.mounted = append(w.mounted, path)
	}
	return nil
}

func (w *world) unmount() {
	for _, path := range slices.Backward(w.mounted) {
		_ = unix.Unmount(path, unix.MNT_DETACH) // what is left goes with the machine
	}
}

// fill takes the last byte of a process's disk, holds it, gives it back, and says what the
// process should not have done.
func (w *world) fill(ctx context.Context, whom string, lasts time.Duration) (broken []string, err error) {
	path := filepath.Join(w.disk(whom), ballast)
	if whom == cluster.ServerName {
		if broken, err = w.belowTheMark(ctx, path, lasts); err != nil {
			return broken, err
		}
	}
	if err := fillUp(ctx, path, lasts); err != nil {
		return broken, err
	}
	broken = append(broken, w.whileFull(ctx, whom)...)
	if err := os.Remove(path); err != nil {
		return broken, err
	}
	freed := time.Now()
	before := w.progress(whom)
	for time.Since(freed) < 6*recovery && ctx.Err() == nil {
		if now := w.progress(whom); now[0] > before[0] && now[1] > before[1] {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if took := time.Since(freed); took > recovery {
		broken = say(broken, "%s works again %v after its disk had room", whom, took.Round(time.Millisecond))
	} else if w.verbose {
		fmt.Printf("      works again after %v\n", took.Round(time.Millisecond))
	}
	return broken, ctx.Err()
}

// fillUp fills the disk again and again, since what the process gives back is room.
func fillUp(ctx context.Context, path string, lasts time.Duration) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	piece := make([]byte, 4<<10)
	for until := time.Now().Add(lasts); time.Now().Before(until) && ctx.Err() == nil; {
		if _, err := file.Write(piece); errors.Is(err, unix.ENOSPC) {
			time.Sleep(time.Millisecond)
		} else if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// whileFull looks at a process whose disk is full: it is there, and an agent says what is wrong.
func (w *world) whileFull(ctx context.Context, whom string) (broken []string) {
	select {
	case <-w.process(whom).Done:
		return say(broken, "%s ended when its disk was full: %v", whom, w.process(whom).Ended())
	default:
	}
	if whom == cluster.ServerName {
		return nil
	}
	addr, err := w.Agent(api.AgentID(whom)).Endpoint("health")
	if err != nil {
		return say(broken, "%s does not say where its /ready is: %v", whom, err)
	}
	status, text, err := readiness(ctx, addr)
	if w.verbose {
		fmt.Printf("      full: /ready of %s says %d %.300s\n", whom, status, text)
	}
	if err != nil || status != http.StatusServiceUnavailable {
		broken = say(broken, "/ready of %s says %d %.200s when its disk is full: %v", whom, status, text, err)
	}
	return broken
}

func readiness(ctx context.Context, addr string) (status int, text []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/ready", nil)
	if err != nil {
		return 0, nil, err
	}
	answer, err := probe.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	text, err = limits.ReadAll(io.Reader(answer.Body), 1<<20)
	return answer.StatusCode, text, err
}

// progress is what has to grow when a process works: what is accepted for a sensor, what is
// done for the others.
func (w *world) progress(whom string) [2]int64 {
	said, done := size(w.accepted(sensorID)), size(filepath.Join(w.ledger(), "effects"))
	switch whom {
	case sensorID:
		return [2]int64{said, said}
	case actionID:
		return [2]int64{done, done}
	}
	return [2]int64{said, done}
}
