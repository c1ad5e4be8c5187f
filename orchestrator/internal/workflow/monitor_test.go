package workflow

import (
	"strings"
	"testing"
	"time"
)

func TestMonitorsInTheLanguage(t *testing.T) {
	d := parse(t, `name: w
triggers:
  - {id: disk, event: "disk.**", monitor: {plugin: disk-space@^1, interval: 5s, config: {threshold: 85, paths: [/, /var]}}}
  - {event: a, monitor: {plugin: other}}
  - {event: b}
outputs: [{plugin: p}]
`)
	m := d.Triggers[0].Monitor
	if m == nil || m.Name != "w.disk" || m.Plugin != "disk-space" || m.Version != "^1" || m.Interval != 5*time.Second || string(m.Config["paths"]) != `["/","/var"]` {
		t.Errorf("%+v", m)
	}
	if m := d.Triggers[1].Monitor; m == nil || m.Name != "w.2" || m.Interval != 30*time.Second || len(m.Config) != 0 {
		t.Errorf("%+v", m)
	}
	if m := d.Triggers[2].Monitor; m != nil {
		t.Errorf("%+v", m)
	}
	for said, want := range map[string]string{
		`event: a, monitor: {interval: 1s}`:                                                `f:2:32: plugin is missing: name the sensor`,
		`event: a, monitor: {plugin: "x@y z"}`:                                             `plugin version "y z"`,
		`event: a, monitor: {plugin: x, interval: 100ms}`:                                  `interval 100ms: must be from 1s to`,
		`event: a, monitor: {plugin: x, confg: {}}`:                                        `"confg"`,
		`schedule: "@daily", monitor: {plugin: x}`:                                         `monitor is for a trigger by event`,
		`event: a, id: ` + strings.Repeat("x", 62) + `, monitor: {plugin: x}`:              `give the trigger a shorter id`,
		`event: a, monitor: {plugin: x, config: {a: ` + strings.Repeat("x", 20_000) + `}}`: `config has 20003 bytes, at most 16384`,
	} {
		_, err := Parse("f", []byte("name: w\ntriggers: [{"+said+"}]\noutputs: [{plugin: p}]"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %s", said, err, want)
		}
	}
}
