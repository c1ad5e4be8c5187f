package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/stavily/agents/shared/pkg/telemetry"
)

// controlName is the socket in the base directory through which the host's owner tells
// the running agent what to do. Who may open it is the owner: its mode is 0600 in a
// directory of mode 0700, and the kernel says who calls.
const controlName = "control.sock"

// maxSocketPath is what every system's sun_path holds.
const maxSocketPath = 103

const conditionControl = "control_socket"

// control answers on the socket until ctx ends. Without one the agent works all the same.
func (rt *Runtime) control(ctx context.Context) error {
	for {
		err := rt.serveControl(ctx)
		if ctx.Err() != nil {
			return nil
		}
		rt.Health.Set(conditionControl, Degraded, false, "control socket: "+err.Error(), "`"+rt.Role.Program+" plugins` does not work until this is corrected; trying again every "+listenRetry.String())
		rt.Log.Warn("no control socket", telemetry.KeyError, err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(listenRetry):
		}
	}
}

func (rt *Runtime) serveControl(ctx context.Context) error {
	path := filepath.Join(rt.Config().Agent.BaseDir, controlName)
	if len(path) > maxSocketPath {
		return fmt.Errorf("the path %s has more than %d bytes: use a shorter base directory", path, maxSocketPath)
	}
	// This process has the lock of the base directory: what is there is of one that is gone.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	rt.Health.Clear(conditionControl)
	srv := &http.Server{
		Handler: rt.controlHandler(ctx), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(rt.Log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(&ownersOnly{l, rt}); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ownersOnly hangs up on everybody but the agent's own user and root.
type ownersOnly struct {
	*net.UnixListener
	rt *Runtime
}

func (l *ownersOnly) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, known, err := peerOf(c)
		if err == nil && (!known || uid == 0 || uid == os.Geteuid()) {
			return c, nil
		}
		l.rt.Log.Warn("somebody else called at the control socket", "uid", uid, telemetry.KeyError, err)
		l.rt.Audit.Note(AuditDenied, slog.String("what", deniedCaller), slog.String("name", controlName), slog.Int("uid", uid), slog.String("reason", "only the agent's user and root are obeyed"))
		c.Close()
	}
}
