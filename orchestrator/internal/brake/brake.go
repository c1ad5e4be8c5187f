package brake

import (
	"cmp"
	"crypto/sha256"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	most       = 10_000    // keys, of some 200 bytes
	evicted    = most / 10 // at the limit, so that not every new key sorts all
	sweptFirst = 256       // keys, from which on those that have recovered are looked for
	longestKey = 160       // bytes that are kept; of a longer key its digest is
)

// Address is the key of whoever comes from an IP address. Of IPv6 it is the network of 64 bits,
// which is what one customer or one link has at least.
func Address(text string) string {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return text
	}
	if a = a.Unmap(); a.Is4() {
		return a.String()
	}
	return netip.PrefixFrom(a.WithZone(""), 64).Masked().String()
}

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
	if !spend && b.of[bounded(key)] == nil {
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

// bounded is what is kept of a key: callers make them of what strangers send.
func bounded(key string) string {
	if len(key) <= longestKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return string(sum[:])
}

// bucket is that of a key. It needs mu.
func (b *Brake) bucket(key string, now time.Time) *rate.Limiter {
	key = bounded(key)
	if b.of[key] == nil {
		b.makeRoom(now)
		b.of[key] = rate.NewLimiter(b.each, b.burst)
	}
	return b.of[key]
}

// makeRoom forgets those that have recovered, now and then, and at the limit those that will have
// first: whoever makes many keys is not to have those forgotten that were held up.
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
		left := make(map[string]float64, len(b.of))
		for key, bucket := range b.of {
			left[key] = bucket.TokensAt(now)
		}
		fullest := slices.SortedFunc(maps.Keys(left), func(x, y string) int { return cmp.Compare(left[y], left[x]) })
		for _, key := range fullest[:evicted] {
			delete(b.of, key)
		}
	}
	b.sweepAt = min(max(2*len(b.of), sweptFirst), most)
}
