package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

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

// Log is where a process's logger writes, and how. All of that can change while it is
// used, and nothing that was logged is lost by it.
type Log struct {
	level  slog.LevelVar
	asText atomic.Bool
	out    *lines
	closer io.Closer // of the file; swapped under out.mu
}

// NewLogger makes the process's logger, and what changes and closes it.
func NewLogger(o LogOptions) (*slog.Logger, *Log, error) {
	l := &Log{out: &lines{redactor: o.Redactor}, closer: io.NopCloser(nil)}
	c, err := l.Prepare(o)
	if err != nil {
		return nil, nil, err
	}
	options := &slog.HandlerOptions{Level: &l.level}
	h := &either{asText: &l.asText, json: slog.NewJSONHandler(l.out, options), text: slog.NewTextHandler(l.out, options)}
	return slog.New(h), l, c.Commit()
}

// LogChange is another way of logging that can be taken, and what it needs is open.
type LogChange struct {
	log    *Log
	level  slog.Level
	asText bool
	to     []io.Writer
	closer io.Closer
}

// Prepare opens what o says without using it yet. The redactor stays the first one.
// Either Commit or Discard has to follow.
func (l *Log) Prepare(o LogOptions) (*LogChange, error) {
	c := &LogChange{log: l, asText: o.Format == "text", closer: io.NopCloser(nil)}
	if err := c.level.UnmarshalText([]byte(o.Level)); err != nil {
		return nil, fmt.Errorf("log level %q: must be debug, info, warn or error", o.Level)
	}
	if !slices.Contains([]string{"json", "text"}, o.Format) {
		return nil, fmt.Errorf("log format %q: must be json or text", o.Format)
	}
	if !slices.Contains([]string{"both", "file", "stdout"}, o.Output) {
		return nil, fmt.Errorf("log output %q: must be both, file or stdout", o.Output)
	}
	if o.Output != "stdout" {
		file, err := o.open(o.File)
		if err != nil {
			return nil, fmt.Errorf("log to a file: %w", err)
		}
		c.to, c.closer = append(c.to, file), file
	}
	if o.Output != "file" {
		c.to = append(c.to, o.Stdout)
	}
	return c, nil
}

// Commit logs so from now on, and closes what was logged to before.
func (c *LogChange) Commit() error {
	l := c.log
	l.level.Set(c.level)
	l.asText.Store(c.asText)
	return l.out.swap(c.to, &l.closer, c.closer)
}

// Discard closes what was opened.
func (c *LogChange) Discard() error { return c.closer.Close() }

// SetLevel is for debug, info, warn or error, until the next Commit.
func (l *Log) SetLevel(name string) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil || !slices.Contains([]string{"debug", "info", "warn", "error"}, name) {
		return fmt.Errorf("log level %q: must be debug, info, warn or error", name)
	}
	l.level.Set(level)
	return nil
}

// Close closes the file. What is logged afterwards is lost.
func (l *Log) Close() error { return l.out.swap(nil, &l.closer, io.NopCloser(nil)) }

// either hands each record to the handler of the format that is in force then.
type either struct {
	asText     *atomic.Bool
	json, text slog.Handler
}

func (e *either) now() slog.Handler {
	if e.asText.Load() {
		return e.text
	}
	return e.json
}

func (e *either) Enabled(ctx context.Context, level slog.Level) bool {
	return e.json.Enabled(ctx, level)
}
func (e *either) Handle(ctx context.Context, r slog.Record) error { return e.now().Handle(ctx, r) }
func (e *either) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &either{e.asText, e.json.WithAttrs(attrs), e.text.WithAttrs(attrs)}
}
func (e *either) WithGroup(name string) slog.Handler {
	return &either{e.asText, e.json.WithGroup(name), e.text.WithGroup(name)}
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

// CheckFile refuses what is there already and can be no log: a device or a pipe must not
// be renamed away by the rotation, nor block who opens it.
func CheckFile(path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	return nil
}

// open makes sure, while somebody still looks, that path can be written, and
// returns the rotated file. It is not thread-bound: rotation happens within Write.
func (o LogOptions) open(path string) (io.WriteCloser, error) {
	if err := CheckFile(path); err != nil {
		return nil, err
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
