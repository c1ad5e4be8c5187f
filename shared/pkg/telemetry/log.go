package telemetry

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/DeRuina/timberjack"
)

// LogOptions say what is written and where. The rotation counts for the log file
// and, in NewPluginLog, for each plugin's.
type LogOptions struct {
	Level    string    // debug, info, warn or error
	Format   string    // json or text
	Output   string    // both, file or stdout
	Stdout   io.Writer // what stdout is
	Redactor *Redactor // nil redacts nothing

	File       string // its directory must exist
	MaxSizeMB  int    // MiB, then it is rotated; at least 1
	MaxBackups int    // rotated files kept; 0 keeps all
	MaxAgeDays int    // 0 keeps them for ever
	Compress   bool   // rotated files, with gzip
}

// fileMode keeps logs to the agent's user: they name paths, hosts and parameters.
const fileMode = 0o600

// NewLogger makes the process's logger, the variable that changes its level while
// it runs, and what closes the file.
func NewLogger(o LogOptions) (*slog.Logger, *slog.LevelVar, io.Closer, error) {
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(o.Level)); err != nil {
		return nil, nil, nil, fmt.Errorf("log level %q: must be debug, info, warn or error", o.Level)
	}
	out := &lines{redactor: o.Redactor}
	var handler slog.Handler
	switch options := (&slog.HandlerOptions{Level: level}); o.Format {
	case "json":
		handler = slog.NewJSONHandler(out, options)
	case "text":
		handler = slog.NewTextHandler(out, options)
	default:
		return nil, nil, nil, fmt.Errorf("log format %q: must be json or text", o.Format)
	}
	if !slices.Contains([]string{"both", "file", "stdout"}, o.Output) {
		return nil, nil, nil, fmt.Errorf("log output %q: must be both, file or stdout", o.Output)
	}
	var closer io.Closer = io.NopCloser(nil)
	if o.Output != "stdout" {
		file, err := o.open(o.File)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("log to a file: %w", err)
		}
		out.to, closer = append(out.to, file), file
	}
	if o.Output != "file" {
		out.to = append(out.to, o.Stdout)
	}
	return slog.New(handler), level, closer, nil
}

// NewPluginLog opens dir/<id>.log, in which each Write is one line of what a
// plugin said. dir must exist. Rotation and redaction are those of o; the rest of
// it is not looked at.
func NewPluginLog(dir, id string, o LogOptions) (io.WriteCloser, error) {
	if !filepath.IsLocal(id) || strings.ContainsAny(id, `/\`) {
		return nil, fmt.Errorf("log of plugin %q: the id does not name a file", id)
	}
	file, err := o.open(filepath.Join(dir, id+".log"))
	if err != nil {
		return nil, fmt.Errorf("log of plugin %s: %w", id, err)
	}
	return struct {
		io.Writer
		io.Closer
	}{&lines{redactor: o.Redactor, to: []io.Writer{file}}, file}, nil
}

// open makes sure, while somebody still looks, that path can be written, and
// returns the rotated file. It is not thread-bound: rotation happens within Write.
func (o LogOptions) open(path string) (io.WriteCloser, error) {
	// A device or a pipe must not be renamed away by the rotation, nor block here.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, fileMode)
	if err != nil {
		return nil, err
	}
	if err := tighten(f); err != nil {
		return nil, err
	}
	return &timberjack.Logger{
		Filename: path, FileMode: fileMode,
		MaxSize: o.MaxSizeMB, MaxBackups: o.MaxBackups, MaxAge: o.MaxAgeDays, Compression: compression(o.Compress),
	}, nil
}

// tighten closes f after setting its mode, which an older file need not have. A
// file of another user is theirs to set.
func tighten(f *os.File) error {
	err := f.Chmod(fileMode)
	if errors.Is(err, fs.ErrPermission) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

func compression(on bool) string {
	if on {
		return "gzip"
	}
	return "none"
}
