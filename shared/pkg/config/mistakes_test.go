package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// Each row is what a person may write and the whole of what they are told.
func TestMistakesInTheFile(t *testing.T) {
	const idRule = "must be 1 to 63 characters of a-z, 0-9, '.', '_', '-', beginning with a letter or digit"
	for _, c := range []struct{ text, want string }{
		{"agent: {id: A}", `a.yaml:3:13: agent.id: agent id "A": ` + idRule},
		{"agent: {id: ''}", "a.yaml:3:13: agent.id: is missing: set it in the configuration file, as STAVILY_AGENT_ID or with --agent-id"},
		{"agent: {type: action}", `a.yaml:3:15: agent.type: "action": this is the sensor agent: start the action agent with this configuration, or correct the type`},
		{"agent: {type: robot}", `a.yaml:3:15: agent.type: agent type "robot": must be "sensor" or "action"`},
		{"agent: {organization_id: 'a b'}", `a.yaml:3:26: agent.organization_id: organization id "a b": ` + idRule},
		{"agent: {tags: ['a,b']}", `a.yaml:3:15: agent.tags: "a,b": must be text without a comma, for example role:web`},
		{"agent: {name: \"a\\u001b[2J\"}", `a.yaml:3:15: agent.name: "a\x1b[2J": must be printable text in UTF-8`},
		{"agent: {name: \"web\\u202E10\"}", `a.yaml:3:15: agent.name: "web\u202e10": must be printable text in UTF-8`},
		{"agent: {heartbeat_interval: 30ms}", "a.yaml:3:29: agent.heartbeat_interval: 30ms: must be at least 1s"},
		{"agent: {heartbeat_interval: 30}", `a.yaml:3:29: "30" is not a duration: write a number with a unit, for example 500ms, 30s or 5m`},
		{"agent: {heartbeat_intervall: 30s}", `a.yaml:3:9: unknown key "heartbeat_intervall" in agent: did you mean "heartbeat_interval"?`},
		{"agent: {name: }", "a.yaml:3:15: agent.name: has no value: give it one or remove the key"},
		{"agent: {environment: '${NO_SUCH}'}", `a.yaml:3:22: agent.environment: "${NO_SUCH}": environment variable NO_SUCH is not set`},
		{"agent: {environment: '{AGENTID}'}", `a.yaml:3:22: agent.environment: "{AGENTID}": nothing is called {AGENTID}: there are {AGENT_ID}, {HOSTNAME}, {ORG_ID} and ${NAME} for an environment variable`},
		{"agent: {environment: '{ORG_ID}'}", `a.yaml:3:22: agent.environment: "{ORG_ID}": {ORG_ID}: agent.organization_id is not set`},
		{"api: {base_url: 'http://h'}", `a.yaml:3:17: api.base_url: "http://h": must begin with https://: agents speak mutual TLS only, because without it anybody on the way could give them instructions`},
		{"api: {base_url: 'https://u:geheim@h'}", "a.yaml:3:17: api.base_url: must not hold a user name or password: the agent's certificate says who it is"},
		{"api: {base_url: 'h:8443'}", `a.yaml:3:17: api.base_url: "h:8443": must be https:// and a host, for example https://stavily.example.com:8443`},
		{"api: {base_url: 'https://:8443'}", `a.yaml:3:17: api.base_url: "https://:8443": must be https:// and a host, for example https://stavily.example.com:8443`},
		{"api: {base_url: 'https://h:port'}", `a.yaml:3:17: api.base_url: "https://h:port": is not a URL; write for example https://stavily.example.com:8443`},
		{"api: {base_url: 'https://h:65536'}", `a.yaml:3:17: api.base_url: "https://h:65536": must have a port from 1 to 65535, for example https://stavily.example.com:8443`},
		{"tracing: {endpoint: 'http://127.0.0.1:99999'}", `a.yaml:3:21: tracing.endpoint: "http://127.0.0.1:99999": is a URL whose port is not from 1 to 65535`},
		{"plugins: {python: {index_url: 'https://h:0/simple'}}", `a.yaml:3:31: plugins.python.index_url: [redacted]: must be the https:// URL of a package index, for example https://pypi.org/simple (http:// only to this host)`},
		{"api: {base_url: 'https://h/agents/v1'}", `a.yaml:3:17: api.base_url: "https://h/agents/v1": must end after the host and port: the agent adds the paths of its API itself`},
		{"api: {base_url: 'https://h?'}", `a.yaml:3:17: api.base_url: "https://h?": must end after the host and port: the agent adds the paths of its API itself`},
		{"api: {timeout: -1s}", "a.yaml:3:16: api.timeout: -1s: must be positive"},
		{"api: {poll_wait: 10m}", "a.yaml:3:18: api.poll_wait: 10m: must be positive and at most 5m"},
		{"api: {max_concurrent: 65}", "a.yaml:3:23: api.max_concurrent: 65: must be from 1 to 64"},
		{"api: {retry: {max_attempts: 0}}", "a.yaml:3:29: api.retry.max_attempts: 0: must be at least 1"},
		{"api: {retry: {backoff: linear}}", `a.yaml:3:24: api.retry.backoff: "linear": must be exponential`},
		{"api: {retry: {initial_interval: 0s}}", "a.yaml:3:33: api.retry.initial_interval: 0s: must be positive"},
		{"api: {retry: {max_interval: 1ms}}", "a.yaml:3:29: api.retry.max_interval: 1ms: must be at least api.retry.initial_interval, which is 1s"},
		{"api: {auth: {type: password}}", `a.yaml:3:20: api.auth.type: "password": must be one of certificate, jwt`},
		{"api: {auth: {renew_before: -1h}}", "a.yaml:3:28: api.auth.renew_before: -1h: must be 0 (a third of the certificate's life) or more"},
		{"api: {auth: {refresh_threshold: 0s}}", "a.yaml:3:33: api.auth.refresh_threshold: 0s: must be at least 1s"},
		{"api: {auth: {pin_sha256: ['sha1:ab']}}", "a.yaml:3:26: api.auth.pin_sha256: \"sha1:ab\": must be sha256: and 64 hexadecimal digits, the fingerprint that `stavily tokens create` prints, or sha256// and the base64 of a public key's SHA-256"},
		{"api: {auth: {key_passphrase_file: a, key_passphrase_command: [b]}}", "a.yaml:3:62: api.auth.key_passphrase_command: api.auth.key_passphrase_file is set as well: keep one of them"},
		{"api: {auth: {signer_command: [a], key_passphrase_command: [b]}}", "a.yaml:3:30: api.auth.signer_command: a passphrase is set as well, and there is no key file to decrypt: remove api.auth.key_passphrase_file and key_passphrase_command"},
		{"api: {auth: {signer_command: ['']}}", `a.yaml:3:30: api.auth.signer_command: "": must be a program and its arguments`},
		{"security: {tls: {enabled: false}}", "a.yaml:3:27: security.tls.enabled: false: must be true: the agent's identity is part of TLS, and without it anybody on the way could give it instructions; for a trial without certificates to manage use `stavily dev`"},
		{"security: {tls: {min_version: '1.2', cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}}", `a.yaml:3:53: security.tls.cipher_suites: "TLS_RSA_WITH_RC4_128_SHA": must be one of TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 (weak ones are not offered, and those of TLS 1.3 cannot be chosen)`},
		{"api: {rate_limit: {requests_per_second: .inf}}", "a.yaml:3:41: api.rate_limit.requests_per_second: +Inf: must be positive and at most 1000"},
		{"api: {rate_limit: {requests_per_second: .nan}}", "a.yaml:3:41: api.rate_limit.requests_per_second: NaN: must be positive and at most 1000"},
		{"logging: {level: loud}", `a.yaml:3:18: logging.level: "loud": must be one of debug, info, warn, error`},
		{"logging: {max_size: 0}", "a.yaml:3:21: logging.max_size: 0: must be at least 1 (MiB)"},
		{"logging: {max_size: big}", `a.yaml:3:21: must be a whole number, not "big"`},
		{"plugins: {warm: {max: -1}}", "a.yaml:3:23: plugins.warm.max: -1: must be from 0 (each run starts anew) to 256"},
		{"plugins: {warm: {idle: 10ms}}", "a.yaml:3:24: plugins.warm.idle: 10ms: must be at least 1s"},
		{"plugins: {warm: {age: 0s}}", "a.yaml:3:23: plugins.warm.age: 0s: must be at least 1s"},
		{"plugins: {warm: {runs: 0}}", "a.yaml:3:24: plugins.warm.runs: 0: must be at least 1"},
		{"security: {tls: {min_version: 1.1}}", `a.yaml:3:31: security.tls.min_version: "1.1": must be 1.3 or 1.2`},
		{"security: {sandbox: {enabled: false}}", "a.yaml:3:31: security.sandbox.enabled: false: would leave plugins unconfined, and security.sandbox.require asks for confined: set that to none as well if this is meant"},
		{"security: {sandbox: {level: limited}}", `a.yaml:3:29: security.sandbox.level: "limited": must be at least security.sandbox.require, which is confined: lower that as well if this is meant`},
		{"security: {sandbox: {require: most}}", `a.yaml:3:31: security.sandbox.require: "most": must be full, confined, limited or none`},
		{"security: {sandbox: {level: most}}", `a.yaml:3:29: security.sandbox.level: "most": must be full, confined, limited or none`},
		{"security: {sandbox: {user: 'a b'}}", `a.yaml:3:28: security.sandbox.user: "a b": must be the name or the number of a user of this host`},
		{"security: {sandbox: {chroot: /}}", `a.yaml:3:30: security.sandbox.chroot: "/": must be an absolute path below /, without '..'`},
		{"security: {sandbox: {chroot: srv}}", `a.yaml:3:30: security.sandbox.chroot: "srv": must be an absolute path below /, without '..'`},
		{"security: {sandbox: {read: [/a, b]}}", `a.yaml:3:28: security.sandbox.read: "b": must be an absolute path`},
		{"security: {sandbox: {write: [/a/../b]}}", `a.yaml:3:29: security.sandbox.write: "/a/../b": must be a path without '..' and NUL`},
		{"security: {sandbox: {network: true}}", `a.yaml:3:31: security.sandbox.network: "true": must be one of all, declared, none`},
		{"security: {sandbox: {allow_private: ['*.internal']}}", `a.yaml:3:37: security.sandbox.allow_private: "*.internal": must be a network such as 10.0.0.0/8, an address, or a host name`},
		{"security: {sandbox: {allow_private: false}}", "a.yaml:3:37: must be a list, not \"false\""},
		{"security: {sandbox: {max_processes: 1}}", "a.yaml:3:37: security.sandbox.max_processes: 1: must be at least 2"},
		{"security: {sandbox: {max_cpu: .nan}}", "a.yaml:3:31: security.sandbox.max_cpu: NaN: must be from 0.01 to 1024 (1 is one processor)"},
		{"security: {sandbox: {max_temp: 1KB}}", "a.yaml:3:32: security.sandbox.max_temp: 1KB: must be at least 2MB"},
		{"plugins: {timeout: 0s}", "a.yaml:3:20: plugins.timeout: 0s: must be positive"},
		{"plugins: {max_memory: 256M}", `a.yaml:3:23: "256M" is not a size: write a whole number with B, KB, MB, GB, KiB, MiB or GiB, for example 256MB`},
		{"plugins: {max_memory: 256}", "a.yaml:3:23: plugins.max_memory: 256B: must be at least 16MB"},
		{"plugins: {allowed_plugins: [a, B]}", `a.yaml:3:28: plugins.allowed_plugins: plugin id "B": ` + idRule},
		{"plugins: {pins: {a: sha256:1}}", "a.yaml:3:17: plugins.pins: a: digest \"sha256:1\": must be \"sha256:\" and 64 hex digits, as `plugins show a` prints it"},
		{"plugins: {pins: {-a: sha256:1}}", `a.yaml:3:17: plugins.pins: plugin id "-a": ` + idRule},
		{"plugins: {pins: [a]}", "a.yaml:3:17: plugins.pins: must map plugins to digests, for example {disk-cleaner: sha256:…}"},
		{"plugins: {sources: ['http://h/x']}", `a.yaml:3:20: plugins.sources: repository "http://h/x": "http" is not taken: https, ssh or an absolute path`},
		{"plugins: {trusted_keys: ['ssh-rsa AAAA x']}", `a.yaml:3:25: plugins.trusted_keys: "ssh-rsa AAAA x": line 1: is not a public key, such as "ssh-ed25519 AAAA… name"`},
		{"plugins: {update_interval: 1s}", "a.yaml:3:28: plugins.update_interval: 1s: must be at least 10s"},
		{"plugins: {blocked_plugins: [-a]}", `a.yaml:3:28: plugins.blocked_plugins: plugin id "-a": ` + idRule},
		{"plugins: {python: {interpreters: [python3.12, bin/python]}}", `a.yaml:3:34: plugins.python.interpreters: "bin/python": must be a name in PATH or an absolute path`},
		{"plugins: {python: {wheel_dir: wheels}}", `a.yaml:3:31: plugins.python.wheel_dir: "wheels": must be an absolute path`},
		{"plugins: {python: {index_url: 'http://u:p4ss@pypi.example.com/simple'}}", `a.yaml:3:31: plugins.python.index_url: [redacted]: must be the https:// URL of a package index, for example https://pypi.org/simple (http:// only to this host)`},
		{"plugins: {python: {interpreter: ''}}", `a.yaml:3:33: plugins.python.interpreter: "": must be a name in PATH or an absolute path`},
		{"spool: {max_bytes: 1KB}", "a.yaml:3:20: spool.max_bytes: 1KB: must be at least 4MiB"},
		{"health: {port: 65536}", "a.yaml:3:16: health.port: 65536: must be from 0 (any free one) to 65535"},
		{"health: {bind: 'localhost:8080'}", `a.yaml:3:16: health.bind: "localhost:8080": must be an IP address, for example 127.0.0.1, or 0.0.0.0 for all`},
		{"health: {path: '/{x}'}", `a.yaml:3:16: health.path: "/{x}": must be a path of letters, digits and . _ ~ -, for example /health`},
		{"health: {path: '/a/../b'}", `a.yaml:3:16: health.path: "/a/../b": must be a path of letters, digits and . _ ~ -, for example /health`},
		{"health: {ready_path: /health}", `a.yaml:3:22: health.ready_path: "/health": must be another path than health.path`},
		{"metrics: {namespace: 9x}", `a.yaml:3:22: metrics.namespace: "9x": must be letters, digits and '_', not beginning with a digit`},
	} {
		t.Run(c.text, func(t *testing.T) {
			// The row stands in line 3; what it does not set, the environment does.
			_, err := loadText(t, "# one\n# two\n"+c.text+"\n", others(c.text)...)
			if got := fmt.Sprint(err); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestMistakesElsewhere(t *testing.T) {
	ok := []string{"STAVILY_AGENT_ID=a", "STAVILY_API_BASE_URL=https://h"}
	for _, c := range []struct {
		environ, args []string
		want          string
	}{
		{nil, nil, "agent.id: is missing: set it in the configuration file, as STAVILY_AGENT_ID or with --agent-id\n" +
			"api.base_url: is missing: set it in the configuration file, as STAVILY_API_BASE_URL or with --base-url"},
		{ok, []string{"--log-level=loud"}, `--log-level: logging.level: "loud": must be one of debug, info, warn, error`},
		{append(ok, "STAVILY_PLUGINS_TIMEOUT=0s"), nil, "STAVILY_PLUGINS_TIMEOUT: plugins.timeout: 0s: must be positive"},
		{append(ok, "STAVILY_PLUGINS_TIMEOUT=soon"), nil, `STAVILY_PLUGINS_TIMEOUT: plugins.timeout: "soon" is not a duration: write a number with a unit, for example 500ms, 30s or 5m`},
		{append(ok, "STAVILY_HEALTH_PORT=x"), nil, `STAVILY_HEALTH_PORT: health.port: "x": must be a whole number`},
		{append(ok, "STAVILY_HEALTH_ENABLED=on"), nil, `STAVILY_HEALTH_ENABLED: health.enabled: "on": must be true or false`},
		{append(ok, "STAVILY_API_RATE_LIMIT_REQUESTS_PER_SECOND=x"), nil, `STAVILY_API_RATE_LIMIT_REQUESTS_PER_SECOND: api.rate_limit.requests_per_second: "x": must be a number`},
		{append(ok, "STAVILY_SPOOL_MAX_BYTES=9223372036854775807KB"), nil, `STAVILY_SPOOL_MAX_BYTES: spool.max_bytes: "9223372036854775807KB" is not a size: write a whole number with B, KB, MB, GB, KiB, MiB or GiB, for example 256MB`},
		{append(ok, "STAVILY_AGENT_ID={HOSTNAME}"), nil, `STAVILY_AGENT_ID: agent.id: "{HOSTNAME}": {HOSTNAME}: this host has no name`},
	} {
		t.Chdir(t.TempDir())
		_, err := Load(LoadOptions{Type: api.Sensor, Environ: slices.Clone(c.environ), Flags: parseFlags(t, c.args...)})
		if got := fmt.Sprint(err); got != c.want {
			t.Errorf("%v %v:\n got %s\nwant %s", c.environ, c.args, got, c.want)
		}
	}
}

// Agents of both kinds on one host do not collide (F18).
func TestDefaultsAreValid(t *testing.T) {
	for typ, ports := range map[api.AgentType][2]int{api.Sensor: {8080, 9090}, api.Action: {8081, 9091}} {
		c := Default(typ)
		if got := [2]int{c.Health.Port, c.Metrics.Port}; got != ports {
			t.Errorf("%s: ports %v, want %v", typ, got, ports)
		}
		c.Agent.ID, c.API.BaseURL = "a", "https://h"
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(minimal), "STAVILY_HEALTH_PORT=1")
	f.Add([]byte("agent: {id: '{HOSTNAME}', base_dir: '${X}/{AGENT_ID}'}\napi: {base_url: https://h}\n"), "X=/y")
	f.Add([]byte("plugins: {max_memory: 1GiB, allowed_plugins: [a]}\n"), "STAVILY_AGENT_TAGS=a,b")
	f.Add([]byte("api: {rate_limit: {requests_per_second: .nan}}\n"), "STAVILY_X=")
	path := filepath.Join(f.TempDir(), "f.yaml")
	f.Fuzz(func(t *testing.T, src []byte, variable string) {
		if err := os.WriteFile(path, src, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Load(LoadOptions{Type: api.Sensor, Flags: parseFlags(t, "--config="+path), Environ: []string{variable}, Hostname: "h"})
		if (l == nil) == (err == nil) {
			t.Fatalf("Load = %v, %v: want exactly one of them", l, err)
		}
		if err != nil {
			return
		}
		if err := l.Config.Validate(); err != nil {
			t.Errorf("a loaded configuration is not valid: %v", err)
		}
		for _, leaf := range leaves(&l.Config) {
			for _, text := range leaf.texts() {
				if reference.MatchString(text.String()) {
					return // came out of a variable, and would be replaced now
				}
			}
		}
		showAndLoadAgain(t, l)
	})
}
