package agent

import (
	"context"
	"maps"
	"sync"

	"github.com/stavily/agents/shared/pkg/telemetry"
)

// What becomes of an offer beside the status that an attempt ends with.
const (
	offerRepeated   = "repeated"   // this agent has had the attempt
	offerUnrecorded = "unrecorded" // it could not be journalled or audited: not claimed, and offered again
	offerNoRoom     = "no_room"    // what is left of the disk is kept: not claimed, and offered again
	offerReleased   = "released"   // the claim was refused: it is not ours
	offerLeft       = "left"       // the agent ends; its next start tells how it was
)

// balance counts what is received and what becomes of it, which must be as much. That an
// offer is in hand is counted where it is taken up and where it is over, and not by the
// outcomes: one that is dropped without an outcome shows.
type balance struct {
	mu       sync.Mutex
	received uint64
	inHand   uint64
	outcomes map[string]uint64
}

func (b *balance) receive(offers int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.received += uint64(offers)
	b.inHand += uint64(offers)
}

func (b *balance) over() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inHand--
}

func (b *balance) came(outcome string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.outcomes == nil {
		b.outcomes = map[string]uint64{}
	}
	b.outcomes[outcome]++
}

// account is what was received, what is in hand, and each outcome; unaccounted is how many
// offers have none. Who looks while an offer comes to its end may find one too many.
func (b *balance) account() (account map[string]float64, unaccounted float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	account = map[string]float64{"received": float64(b.received), "in_hand": float64(b.inHand)}
	unaccounted = float64(b.received) - float64(b.inHand)
	for outcome, n := range maps.All(b.outcomes) {
		account[outcome] = float64(n)
		unaccounted -= float64(n)
	}
	return account, unaccounted
}

func (w *worker) declareBalance(m *telemetry.Registry) {
	m.GaugesFunc("instructions_account", "Offers since this process began, by what became of them; received are as many as all others together.", "account", func(context.Context) map[string]float64 {
		account, _ := w.balance.account()
		return account
	})
	m.GaugeFunc("instructions_unaccounted", "Received offers of which nothing says what became: 0 but for a moment, or the agent has a fault.", func() float64 {
		_, n := w.balance.account()
		return n
	})
	m.GaugeFunc("results_unaccounted", "Results that were journalled and neither reported nor wait: 0, or the agent has a fault.", func() float64 {
		return float64(w.journal.Account().Unaccounted())
	})
}
