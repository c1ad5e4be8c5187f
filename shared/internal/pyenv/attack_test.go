package pyenv

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/internal/pyenv/wheeltest"
)

// treeOf is a hash over all below dir but the environments.
func treeOf(t *testing.T, dir, without string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == without {
			return fs.SkipDir
		}
		fmt.Fprintln(h, path, d.Type())
		if d.Type().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			h.Write(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// TestHostileWheels has wheels that try to leave their place, to run while they are
// installed, or to replace what makes an environment. None reaches anything outside.
func TestHostileWheels(t *testing.T) {
	w := newWorkshop(t)
	mark := filepath.Join(w.base, "plugins", "ran")
	boot := fmt.Sprintf("import os; open(%q, 'w').close()", mark)
	python := "lib/python3.11/site-packages"
	if i, err := w.o.Interpreters.First(t.Context()); err == nil {
		python = i.Packages
	}
	for id, c := range map[string]struct {
		wheel  wheeltest.Wheel
		refuse string // what the message says; empty: it installs, and does no harm
	}{
		"up":          {wheeltest.Wheel{Files: map[string]string{"../../../../../../escaped.py": "x"}}, "broken or hostile"},
		"up-data":     {wheeltest.Wheel{Files: map[string]string{"DATA/data/../../../escaped": "x"}}, "broken or hostile"},
		"up-scripts":  {wheeltest.Wheel{Files: map[string]string{"DATA/scripts/../../../escaped": "#!python\n"}}, "broken or hostile"},
		"up-headers":  {wheeltest.Wheel{Files: map[string]string{"DATA/headers/../../../../../../escaped.h": "x"}}, "broken or hostile"},
		"absolute":    {wheeltest.Wheel{Files: map[string]string{mark: "x"}}, "broken or hostile"},
		"interpreter": {wheeltest.Wheel{Files: map[string]string{"DATA/data/" + interpreterIn: "#!/bin/sh\n"}}, "replaces " + interpreterIn},
		"script":      {wheeltest.Wheel{Files: map[string]string{"DATA/scripts/python": "#!python\n"}}, "replaces " + interpreterIn},
		"entry-point": {wheeltest.Wheel{EntryPoints: "[console_scripts]\npython = hostile:main\n"}, "replaces " + interpreterIn},
		"config":      {wheeltest.Wheel{Files: map[string]string{"DATA/data/" + configName: "home = /tmp\n"}}, configName},
		"up-entry":    {wheeltest.Wheel{EntryPoints: "[console_scripts]\n../../../escaped = hostile:main\n"}, ""},
		"pth":         {wheeltest.Wheel{Files: map[string]string{"boot.pth": boot + "\n", "sitecustomize.py": boot, "usercustomize.py": boot}}, ""},
		"pth-data":    {wheeltest.Wheel{Files: map[string]string{"DATA/data/" + python + "/boot.pth": boot + "\n"}}, ""},
		"compile":     {wheeltest.Wheel{Files: map[string]string{"__init__.py": boot, "broken.py": "def (", "compileall.py": boot, "pip/__init__.py": boot, "json.py": boot}}, ""},
		"record":      {wheeltest.Wheel{Files: map[string]string{"hostile-1.0.dist-info/direct_url.json": "{", "stavily.json": "{}", workDir + "/requirements.txt": "x"}}, ""},
	} {
		t.Run(id, func(t *testing.T) {
			c.wheel.Name, c.wheel.Version = "hostile", "1.0"
			p := w.plugin(id, with(t, "hostile\n", c.wheel))
			before := treeOf(t, w.base, w.o.Dir)
			i, err := w.Prepare(t.Context(), p, nil)
			if after := treeOf(t, w.base, w.o.Dir); after != before {
				t.Errorf("something outside of the environments changed")
			}
			if c.refuse != "" {
				if err == nil || !strings.Contains(err.Error(), c.refuse) {
					t.Errorf("error %v, want %q", err, c.refuse)
				}
				return
			}
			if err != nil && !strings.Contains(err.Error(), "hostile") {
				t.Error(err)
			}
			if err == nil {
				insideOnly(t, filepath.Join(w.o.Dir, i.Environment), i)
			}
		})
	}
	for _, name := range w.left() {
		if asideName(name) || len(name) != keyLength {
			t.Errorf("%s stands among the environments", name)
		}
	}
}

// insideOnly checks that an environment holds files and directories, and links that stay
// inside but for the interpreter's.
func insideOnly(t *testing.T, dir string, i Interpreter) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|0o022) != 0 && d.Type()&fs.ModeSymlink == 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if real, err := filepath.EvalSymlinks(path); err != nil || !strings.HasPrefix(real, dir) && real != i.Base {
			t.Errorf("%s leads to %s (%v)", path, real, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
