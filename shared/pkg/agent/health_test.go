package agent

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestHealthSeesALoopThatStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHealth(time.Now)
		if got := h.Snapshot(); got.Status != "ok" {
			t.Fatalf("a fresh agent is %q, want ok", got.Status)
		}
		h.Beat("poll", 30*time.Second)
		time.Sleep(30 * time.Second)
		if got := h.Snapshot(); got.Status != "ok" {
			t.Errorf("within the limit: %+v, want ok", got)
		}
		time.Sleep(time.Second)
		got := h.Snapshot()
		if got.Status != "failing" || len(got.Conditions) != 1 || got.Conditions[0].Name != "stuck_poll" {
			t.Errorf("past the limit: %+v, want failing with stuck_poll", got)
		}
		if ready, _ := h.Ready(); ready {
			t.Error("ready with a stuck loop")
		}
		h.Beat("poll", 30*time.Second)
		if got := h.Snapshot(); got.Status != "ok" {
			t.Errorf("after a beat: %+v, want ok", got)
		}
	})
}

func TestConditionKeepsSinceWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHealth(time.Now)
		begin := time.Now()
		h.Set("offline", Degraded, false, "first", "")
		time.Sleep(time.Hour)
		h.Set("offline", Degraded, false, "second", "")
		c := h.Snapshot().Conditions[0]
		if !c.Since.Equal(begin) || c.Message != "second" {
			t.Errorf("%+v, want since %v and the newer words", c, begin)
		}
		if ready, _ := h.Ready(); !ready {
			t.Error("a condition that does not block made the agent not ready")
		}
		h.Set("not_enrolled", Degraded, true, "no certificate", "enrol it")
		if ready, why := h.Ready(); ready || len(why) != 1 || why[0].Name != "not_enrolled" {
			t.Errorf("Ready = %v, %+v; want false for not_enrolled alone", ready, why)
		}
		h.Clear("not_enrolled")
		h.Clear("offline")
		if got := h.Snapshot(); got.Status != "ok" {
			t.Errorf("after Clear: %+v, want ok", got)
		}
	})
}
