package brake

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	most       = 10_000 // keys, of some 200 bytes
	sweptFirst = 256    // keys, from which on those that have recovered are looked for
)

// Brake holds back each key to a rate. It may be used by any number of goroutines.
type Brake struct {
	each  rate.Limit
	burst int

	mu      sync.Mutex // guards what follows
	of      map[string]*rate.Limiter
	sweepAt int // keys
}

// New returns a brake that lets each key take burst at once, and then perSecond.
func New(perSecond float64, burst int) *Brake {
	return &Brake{each: rate.Limit(perSecond), burst: burst, of: map[string]*rate.Limiter{}, sweepAt: sweptFirst}
}

// Take takes one of key's, or says in how long there is one.
func (b *Brake) Take(key string, now time.Time) (wait time.Duration) {
	return b.take(key, now, true)
}

// Charge takes one of key's also where there is none: who was let through by a look beside others
// pays for it before the next. It is the pair of Look.
func (b *Brake) Charge(key string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bucket(key, now).ReserveN(now, 1)
}

// GiveBack gives back what key took, of which there is never more than a burst.
func (b *Brake) GiveBack(key string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bucket(key, now).AllowN(now, -1)
}

// Look says in how long there is one, without taking it.
func (b *Brake) Look(key string, now time.Time) (wait time.Duration) {
	return b.take(key, now, false)
}

func (b *Brake) take(key string, now time.Time, spend bool) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !spend && b.of[key] == nil {
		return 0
	}
	bucket := b.bucket(key, now)
	if left := bucket.TokensAt(now); left < 1 {
		return max(time.Duration((1-left)/float64(b.each)*float64(time.Second)), time.Millisecond)
	}
	if spend {
		bucket.AllowN(now, 1)
	}
	return 0
}

// bucket is that of a key. It needs mu.
func (b *Brake) bucket(key string, now time.Time) *rate.Limiter {
	if b.of[key] == nil {
		b.makeRoom(now)
		b.of[key] = rate.NewLimiter(b.each, b.burst)
	}
	return b.of[key]
}

// makeRoom forgets those that have recovered, now and then, and all at the limit.
func (b *Brake) makeRoom(now time.Time) {
	if len(b.of) < b.sweepAt {
		return
	}
	for key, bucket := range b.of {
		if bucket.TokensAt(now) >= float64(b.burst) {
			delete(b.of, key)
		}
	}
	if len(b.of) >= most {
		clear(b.of)
	}
	b.sweepAt = min(max(2*len(b.of), sweptFirst), most)
}
