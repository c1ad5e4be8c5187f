package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Plugins that each keep to their limit and together need more than there is are told (F25).
func TestMemoryTogetherIsWeighed(t *testing.T) {
	for _, c := range []struct {
		typ      api.AgentType
		monitors int
		limit    int64
		warns    bool
	}{
		{api.Action, 0, 512 << 20, true}, // 4 × 256 MB
		{api.Action, 0, 2 << 30, false},
		{api.Action, 0, 0, false}, // no limit
		{api.Sensor, 1, 512 << 20, false},
		{api.Sensor, 3, 512 << 20, true},
	} {
		rt, log := testRuntime(t, c.typ)
		p := &Plugins{rt: rt}
		for range c.monitors {
			p.settings = append(p.settings, config.PluginFile{Enabled: true})
		}
		p.weighMemory(c.limit)
		if warned := strings.Contains(log.String(), "plugins may together take more memory"); warned != c.warns {
			t.Errorf("%+v: warned: %v", c, warned)
		}
	}
}

// Plugins run beside each other as far as their limits leave room; a version that is
// tried is not counted.
func TestPluginsWaitForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, _ := testRuntime(t, api.Sensor)
		rt.Config().Plugins.MaxMemory = 256 * config.Megabyte
		p := &Plugins{rt: rt, memory: newMemory(500 * config.Megabyte)}
		task := Task{Plugin: &plugin.Plugin{}, Settings: config.PluginFile{Memory: 200 * config.Megabyte}}
		var leave [2]func()
		for i := range leave {
			var err error
			if leave[i], err = p.MakeRoom(t.Context(), task); err != nil {
				t.Fatal(err)
			}
		}
		entered := make(chan func())
		go func() {
			l, err := p.MakeRoom(t.Context(), task)
			if err != nil {
				t.Error(err)
			}
			entered <- l
		}()
		synctest.Wait()
		if got := rt.Health.Snapshot().Conditions; len(got) != 1 || got[0].Name != conditionMemory || !strings.Contains(got[0].Message, "wait for memory: 1;") {
			t.Errorf("with one who waits: %+v", got)
		}
		gone, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("no longer wanted"))
		if _, err := p.MakeRoom(gone, task); err == nil || !strings.Contains(err.Error(), "no longer wanted") {
			t.Errorf("one who goes away gets %v", err)
		}
		tried := task
		tried.Trial = true
		if _, err := p.roomToSense(t.Context(), tried); err != nil {
			t.Errorf("one that is tried gets %v", err)
		}
		leave[0]()
		(<-entered)()
		leave[1]()
		if got := rt.Health.Snapshot().Conditions; len(got) != 0 {
			t.Errorf("with nobody who waits: %+v", got)
		}
		if !p.memory.room.TryAcquire((500 * config.Megabyte).Bytes()) {
			t.Error("a share was not given back")
		}
	})
}
