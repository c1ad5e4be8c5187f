package kit

import (
	"archive/zip"
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A plugin that does wrong does not pass, and the check that finds it says what it was.
func TestBadPlugins(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		manifest, main string
		change         func(*tester)
		check, says    string
	}{
		"hangs in a look":        {sensorManifest, sensing("time.sleep(60)"), hasty, "commands", "did not answer detect_triggers in time"},
		"hangs at the start":     {sensorManifest, "import time\ntime.sleep(60)\n", func(o *tester) { o.timeout = time.Second }, "handshake", "did not answer get_info in time"},
		"hangs at its 30th look": {sensorManifest, sensing("kept.append(1)\nif len(kept) == 30: time.sleep(60)"), hasty, "runs", "run 29: plugin tried did not answer"},
		"prints junk":            {sensorManifest, "print('hello')\n", nil, "handshake", "ended with exit code 0"},
		"prints junk for ever":   {sensorManifest, "while True: print('hello')\n", nil, "handshake", "no answer"},
		"says another version":   {sensorManifest, speaking("", `{"id": "tried", "version": "2.0.0"}`, ""), nil, "handshake", `says version "2.0.0" and the manifest "1.0.0"`},
		"tells another schema": {
			sensorManifest + "configuration: {limit: {type: integer, default: 1}}\n",
			speaking("", "{}", "    elif c == \"get_trigger_config\":\n        say(c, {\"limit\": {\"type\": \"string\"}, \"lmit\": {\"type\": \"integer\"}})"), nil,
			"schema", `"lmit", which the manifest does not have`,
		},
		"has a dataclass that the manifest does not know": {
			sensorManifest + "configuration: {limit: {type: integer, default: 1}}\n",
			strings.NewReplacer("kept = []", "from dataclasses import dataclass\n@dataclass\nclass Config:\n    limit: int = 2\n", "(config, ", "(config: Config, ").Replace(sensing("config.limit")), nil, "schema", "configuration.limit: default is 1 in plugin.yaml and 2 in the code",
		},
		"reads a key that is not there": {sensorManifest + "configuration: {limit: {type: integer, default: 1}}\n", sensing("if config.get('limit') is None: return config.lmit"), nil, "manifest", "main.py:7:44: look() reads 'lmit'"},
		"leaks processes":               {sensorManifest, sensing("kept.append(subprocess.Popen(['/bin/sleep', '60']))"), nil, "runs", "leaves processes behind"},
		"leaks memory":                  {sensorManifest, sensing("kept.append(bytearray(100000))"), nil, "runs", "leaks memory"},
		"leaks descriptors":             {sensorManifest, sensing("kept.append(open(os.devnull))"), nil, "runs", "leaks descriptors"},
		"leaves files":                  {sensorManifest, sensing("tempfile.mkstemp()"), nil, "runs", "leaves files behind"},
		"dies at its 30th look":         {sensorManifest, sensing("kept.append(1)\nif len(kept) == 30: os._exit(3)"), nil, "runs", "ended with exit code 3"},
		"reads what it did not declare": {sensorManifest, sensing("try: open(" + quoted(secret) + ")\nexcept OSError: pass"), nil, "permissions", "main.py:7: read " + secret + ": not declared"},
		"sensor that writes":            {sensorManifest, sensing("try: open(" + quoted(secret) + ", 'a')\nexcept OSError: pass"), nil, "permissions", "a sensor writes nothing but"},
		"writes what it did not declare": {
			actionManifest, acting("try: open(" + quoted(secret) + ", 'a')\nexcept OSError: pass"), nil, "permissions", "write " + secret + ": not declared",
		},
		"connects to what it did not declare": {
			actionManifest, acting("try: socket.create_connection(('example.com', 443), 1)\nexcept OSError: pass"), nil, "permissions", "lookup example.com:443: not declared",
		},
		"fails":              {actionManifest, acting("raise stavily.Failed('no luck')"), nil, "commands", "no luck"},
		"action that hangs":  {actionManifest, acting("time.sleep(60)"), hasty, "commands", "ended as timeout"},
		"leaves a process":   {actionManifest, acting("subprocess.Popen(['/bin/sleep', '60'])"), nil, "commands", "leaves 1 process behind"},
		"leaves a daemon":    {actionManifest, acting("subprocess.Popen(['/bin/sh', '-c', 'sleep 60 & exec sleep 60'], start_new_session=True)\ntime.sleep(0.1)"), nil, "commands", "leaves 2 processes behind"},
		"fills its home":     {actionManifest, acting("tempfile.mkstemp(dir=os.environ['HOME'])"), nil, "runs", "leaves files behind"},
		"fails now and then": {actionManifest, acting("n = len(os.listdir(os.environ['HOME']))\nopen(os.environ['HOME'] + '/%d' % n, 'w').close()\nif n == 7: raise ValueError('odd')"), nil, "runs", "odd"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := patient(100)
			if c.manifest == actionManifest {
				o.runs = 15 // each a process
			}
			if c.change != nil {
				c.change(o)
			}
			o.unitTests = false
			card := try(t, o, pluginDir(t, map[string]string{"plugin.yaml": c.manifest, "main.py": c.main}))
			if card.Passed || !says(card, c.check, Failed, c.says) {
				t.Errorf("passed %v; the check %q does not fail with %q", card.Passed, c.check, c.says)
			}
		})
	}
}

// hasty is long enough for a handshake on a busy machine.
func hasty(o *tester) { o.timeout = 5 * time.Second }

func quoted(s string) string { return "'" + s + "'" }

// What ignores TERM has to be killed, which takes the whole grace.
func TestIgnoresTERM(t *testing.T) {
	o := patient(10)
	card := try(t, o, pluginDir(t, map[string]string{"plugin.yaml": sensorManifest, "main.py": speaking("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "{}", "")}))
	if card.Passed || !says(card, "TERM", Failed, "ignored TERM") {
		t.Error("it passes")
	}
}

// What plugins of the original agents do is no mistake.
func TestPluginsWithoutTheSDK(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"sensor": {"plugin.yaml": sensorManifest + "configuration: {limit: {type: integer, default: 1}}\n", "main.py": speaking("print('started', flush=True)", `{"id": "tried", "version": "1.0.0", "type": "trigger"}`,
			"    elif c == \"get_trigger_config\":\n        say(c, {\"properties\": {\"limit\": {\"type\": \"integer\"}}})\n    elif c == \"detect_triggers\":\n        say(c, [{\"type\": \"seen\"}])")},
		"action":   {"plugin.yaml": "type: action\nruntime: {type: python, entry_point: main.py}\n", "main.py": speaking("", `{"type": "action"}`, "    elif c == \"execute_action\":\n        say(c, {\"done\": 1})")},
		"script":   {"plugin.yaml": "type: action\nruntime: {type: bash, entry_point: main.sh, contract: script}\n", "main.sh": "echo '{\"done\": 1}'\n"},
		"detected": {"plugin.yaml": "type: action\nruntime: {type: python, entry_point: main.py}\n", "main.py": "print('done')\n"},
		"monitor":  {"plugin.yaml": "type: monitor\nruntime: {type: python, entry_point: main.py}\n", "main.py": "import time\nwhile True:\n    print('looked', flush=True)\n    time.sleep(0.1)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			card := try(t, patient(50), pluginDir(t, files))
			if !card.Passed {
				t.Errorf("does not pass: %s", card.failed())
			}
			if name == "sensor" && !says(card, "handshake", Warned, `for example "started"`) {
				t.Error("its line on standard output is not told")
			}
			if name == "detected" && card.Contract != "script" || name == "action" && card.Contract != "stdio" {
				t.Errorf("contract %s", card.Contract)
			}
		})
	}
}

// What is refused is what the suggested section allows: with it the plugin passes.
func TestTheSuggestedPermissionsAreEnough(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b/c", "log"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	files := map[string]string{"plugin.yaml": actionManifest + "configuration: {root: {type: string, default: " + dir + "/b}}\n", "main.py": acting(`
failed = []
for path, mode in (("` + dir + `/a", "r"), (ctx.config.root + "/c", "r"), ("` + dir + `/log", "a")):
    try: open(path, mode).close()
    except OSError as error: failed.append(str(error))
host, port = "` + listener.Addr().String() + `".split(":")
try: socket.create_connection((host, int(port)), 5).close()
except OSError as error: failed.append(str(error))
if failed and "` + "strict" + `" in params: raise stavily.Failed(", ".join(failed))`)}
	o := patient(5)
	card := try(t, o, pluginDir(t, files))
	for _, want := range []string{`network: ["` + listener.Addr().String() + `"]`, `read: ["` + dir + `/a", "${config.root}"]`, `write: ["` + dir + `/log"]`} {
		if !strings.Contains(card.Permissions, want) {
			t.Errorf("suggested is\n%s\nwithout %s", card.Permissions, want)
		}
	}
	files["plugin.yaml"] += card.Permissions
	o.params["strict"] = true
	if card := try(t, o, pluginDir(t, files)); !card.Passed {
		t.Errorf("does not pass with what was suggested: %s", card.failed())
	}
}

// What is asked for and never used is told, and so is writing that only reads.
func TestUnusedPermissions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	card := try(t, patient(5), pluginDir(t, map[string]string{
		"plugin.yaml": actionManifest + "permissions: {network: [\"example.com:443\"], filesystem: {read: [/etc/hostname], write: [" + file + "]}}\n",
		"main.py":     acting("open(" + quoted(file) + ").close()"),
	}))
	for _, want := range []string{"network example.com:443 was not used", "read /etc/hostname was not used", "write " + file + " was only read"} {
		if !card.Passed || !says(card, "permissions", Warned, want) {
			t.Errorf("is not told: %s", want)
		}
	}
}

func TestUnitTestsCount(t *testing.T) {
	for says_, files := range map[string]map[string]string{
		"AssertionError": {"test_x.py": "import unittest\nclass X(unittest.TestCase):\n    def test_x(self):\n        self.fail()\n"},
	} {
		files["plugin.yaml"], files["main.py"] = sensorManifest, sensing("pass")
		if card := try(t, patient(5), pluginDir(t, files)); card.Passed || !says(card, "unit tests", Failed, says_) {
			t.Errorf("passed %v without %s", card.Passed, says_)
		}
	}
	if card := try(t, patient(5), pluginDir(t, map[string]string{"plugin.yaml": sensorManifest, "main.py": sensing("pass")})); !card.Passed || !says(card, "unit tests", Warned, "none") {
		t.Error("that there are none is not told")
	}
}

// A path that is relative to a directory that was opened is the one that it leads to.
func TestUsesBesideADescriptor(t *testing.T) {
	dir := t.TempDir()
	card := try(t, patient(3), pluginDir(t, map[string]string{
		"plugin.yaml": actionManifest + "permissions: {filesystem: {write: [" + dir + "]}}\n",
		"main.py": acting(`
at = os.open("` + dir + `", os.O_RDONLY | os.O_DIRECTORY)
os.close(os.open("made", os.O_WRONLY | os.O_CREAT, dir_fd=at))
os.rename("made", "moved", src_dir_fd=at, dst_dir_fd=at)
os.unlink("moved", dir_fd=at)
os.close(at)`),
	}))
	if !says(card, "permissions", Passed, "0 refused") {
		t.Error("a use is taken for another")
	}
}

// wheel is a package of Python that holds one module.
func wheel(t *testing.T, name, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	info := name + "-1.0.dist-info/"
	for path, content := range map[string]string{
		name + ".py": text, info + "METADATA": "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\n",
		info + "WHEEL":  "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		info + "RECORD": name + ".py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n",
	} {
		w, err := z.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What a plugin requires is installed for it as an agent does, from its wheels.
func TestRequirements(t *testing.T) {
	files := map[string]string{
		"plugin.yaml":      "type: action\nruntime: {type: python, entry_point: main.py, contract: stdio, requirements: requirements.txt}\n",
		"requirements.txt": "dep==1.0\n",
		"main.py":          strings.Replace(acting("return {'value': dep.VALUE}"), "import stavily", "import stavily, dep", 1),
		"test_main.py":     "import unittest, main\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(main.dep.VALUE, 7)\n",
	}
	o := patient(5)
	if card, err := o.test(t.Context(), pluginDir(t, files)); err == nil || !strings.Contains(err.Error(), "dep==1.0") {
		t.Errorf("without its wheel: %+v, %v", card, err)
	}
	files["wheels/dep-1.0-py3-none-any.whl"] = wheel(t, "dep", "VALUE = 7\n")
	if card := try(t, o, pluginDir(t, files)); !card.Passed || !says(card, "unit tests", Passed, "1 ran") {
		t.Error("does not pass with its wheel")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "dep-1.0-py3-none-any.whl"), []byte(files["wheels/dep-1.0-py3-none-any.whl"]), 0o644); err != nil {
		t.Fatal(err)
	}
	delete(files, "wheels/dep-1.0-py3-none-any.whl")
	o.wheels = dir
	if card := try(t, o, pluginDir(t, files)); !card.Passed {
		t.Error("does not pass with --wheel-dir")
	}
}
