package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hostile are texts of others that try to be more than one line, or to be obeyed
// by a terminal.
var hostile = map[string]string{
	"CR LF":               "a\r\nb\nc",
	"a record of its own": "x\"}\n{\"level\":\"ERROR\",\"msg\":\"forged\"}",
	"ANSI":                "\x1b[2J\x1b]0;title\a",
	"C1":                  "\u009b2J\u0085next",
	"U+2028":              "a\u2028b\u2029c",
	"right to left":       "user\u202enimda",
	"no UTF-8":            "\xff\xfe\x9b",
	"NUL and DEL":         "\x00\x7f",
	"beyond the BMP":      "\U000e0041\U0010ffff",
	"harmless":            "größer als 85 % 🚀\t/var/log",
}

// oneLine fails unless b is one line of printable text.
func oneLine(t *testing.T, b []byte) {
	t.Helper()
	line, ended := strings.CutSuffix(string(b), "\n")
	if i := strings.IndexFunc(line, func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }); i >= 0 || !ended {
		t.Errorf("not one printable line: %q", b)
	}
}

func TestARecordIsOneLine(t *testing.T) {
	for name, text := range hostile {
		for _, format := range []string{"json", "text"} {
			t.Run(name+"/"+format, func(t *testing.T) {
				var out bytes.Buffer
				log, _, err := NewLogger(LogOptions{Level: "info", Format: format, Output: "stdout", Stdout: &out})
				if err != nil {
					t.Fatal(err)
				}
				log.Info(text, text, text, KeyError, errors.New(text), slog.Group(text, "k", []string{text}))
				oneLine(t, out.Bytes())
				var record map[string]any
				if format != "json" || name == "no UTF-8" {
					return
				}
				if err := json.Unmarshal(out.Bytes(), &record); err != nil || record["msg"] != text || record[KeyError] != text {
					t.Errorf("read back %q, %v, want msg and error %q", record, err, text)
				}
			})
		}
		t.Run(name+"/plugin", func(t *testing.T) {
			dir := t.TempDir()
			log, err := NewPluginLog(dir, "p", LogOptions{MaxSizeMB: 1})
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.WriteString(log, text); n != len(text) || err != nil {
				t.Errorf("Write = %d, %v, want all %d", n, err, len(text))
			}
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
			oneLine(t, readFile(t, filepath.Join(dir, "p.log")))
		})
	}
}

func FuzzLine(f *testing.F) {
	for _, text := range hostile {
		f.Add(text, "secret-value")
	}
	f.Fuzz(func(t *testing.T, text, secret string) {
		var out bytes.Buffer
		r := new(Redactor)
		r.Add(secret)
		if _, err := io.WriteString(&lines{redactor: r, to: []io.Writer{&out}}, text); err != nil {
			t.Fatal(err)
		}
		oneLine(t, out.Bytes())
	})
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOutputs(t *testing.T) {
	for _, c := range []struct {
		destination  string
		file, stdout bool
	}{{"both", true, true}, {"file", true, false}, {"stdout", false, true}} {
		t.Run(c.destination, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.log")
			var out bytes.Buffer
			log, closer, err := NewLogger(LogOptions{Level: "info", Format: "json", Output: c.destination, Stdout: &out, File: path, MaxSizeMB: 1})
			if err != nil {
				t.Fatal(err)
			}
			log.Info("started", KeyAgent, "web-01")
			if err := closer.Close(); err != nil {
				t.Fatal(err)
			}
			file, err := os.ReadFile(path)
			if wrote := bytes.Contains(file, []byte("started")); wrote != c.file || (err == nil) != c.file {
				t.Errorf("file holds %q, %v, want it written: %v", file, err, c.file)
			}
			if wrote := strings.Contains(out.String(), "started"); wrote != c.stdout {
				t.Errorf("standard output holds %q, want it written: %v", &out, c.stdout)
			}
		})
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestOneOutputDoesNotKeepFromTheOther(t *testing.T) {
	var out bytes.Buffer
	l := &lines{to: []io.Writer{brokenPipe{}, &out}}
	if _, err := io.WriteString(l, "x"); !errors.Is(err, io.ErrClosedPipe) || out.String() != "x\n" {
		t.Errorf("second destination has %q, error %v", &out, err)
	}
}

func TestLevelChangesWhileRunning(t *testing.T) {
	var out bytes.Buffer
	log, change, err := NewLogger(LogOptions{Level: "warn", Format: "text", Output: "stdout", Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("one")
	if err := change.SetLevel("info"); err != nil {
		t.Fatal(err)
	}
	log.Info("two")
	if got := out.String(); strings.Contains(got, "one") || !strings.Contains(got, "two") {
		t.Errorf("wrote %q, want only the second", got)
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	if err := os.WriteFile(path, []byte("older\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	log, closer, err := NewLogger(LogOptions{Level: "info", Format: "json", Output: "file", File: path, MaxSizeMB: 1, MaxBackups: 2, Compress: true})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("an older log that all could read has mode %v, %v, want 0600", info.Mode(), err)
	}
	payload := strings.Repeat("x", 64<<10)
	for range 6 << 20 / len(payload) {
		log.Info(payload)
	}
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	zipped := 0
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(e.Name(), ".gz") {
			zipped++
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", e.Name(), info.Mode())
		}
		if info.Size() > 1<<20 {
			t.Errorf("%s has %d bytes, want at most 1 MiB", e.Name(), info.Size())
		}
	}
	if zipped != 2 || len(entries) != 3 {
		t.Errorf("%v: want the log and two compressed backups", entries)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	good := LogOptions{Level: "info", Format: "json", Output: "both", Stdout: io.Discard, File: filepath.Join(dir, "a.log"), MaxSizeMB: 1}
	for want, change := range map[string]func(*LogOptions){
		`log level "loud": must be`:    func(o *LogOptions) { o.Level = "loud" },
		`log format "xml": must be`:    func(o *LogOptions) { o.Format = "xml" },
		`log output "syslog": must be`: func(o *LogOptions) { o.Output = "syslog" },
		"is not a regular file":        func(o *LogOptions) { o.File = dir },
		"log to a file: open":          func(o *LogOptions) { o.File = filepath.Join(dir, "none", "a.log") },
	} {
		o := good
		change(&o)
		if _, _, err := NewLogger(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v, want %q", err, want)
		}
	}
	for _, id := range []string{"", "..", "../x", "a/b", `a\b`, "/etc/x"} {
		if _, err := NewPluginLog(dir, id, good); err == nil {
			t.Errorf("plugin log %q is opened", id)
		}
	}
}
