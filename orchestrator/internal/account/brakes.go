package account

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/stavily/agents/shared/pkg/api"
)

// Attempts that are not held up, and how fast more may come. An address may be a whole
// office behind one gateway; a name is one person, and wrong passwords count for it alone,
// so that nobody is shut out by their own logins.
const (
	addressBurst = 20
	addressPause = 3 * time.Second
	nameBurst    = 10
	namePause    = 30 * time.Second // 2,880 guesses a day at most
	maxBrakes    = 10_000           // of each, some 200 bytes
)

// brakes slow down the guessing of passwords and links.
type brakes struct {
	addresses, names limiters
}

func newBrakes() *brakes {
	return &brakes{
		addresses: limiters{burst: addressBurst, pause: addressPause, of: map[string]*rate.Limiter{}},
		names:     limiters{burst: nameBurst, pause: namePause, of: map[string]*rate.Limiter{}},
	}
}

type limiters struct {
	burst int
	pause time.Duration

	mu sync.Mutex // guards of
	of map[string]*rate.Limiter
}

// take takes one attempt of key, or says in how long there is one. Without spend it only
// looks.
func (l *limiters) take(key string, now time.Time, spend bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter := l.of[key]
	if limiter == nil {
		if len(l.of) >= maxBrakes {
			l.sweep(now)
		}
		limiter = rate.NewLimiter(rate.Every(l.pause), l.burst)
		l.of[key] = limiter
	}
	left := limiter.TokensAt(now)
	if left >= 1 {
		if spend {
			limiter.AllowN(now, 1)
		}
		return nil
	}
	slow := api.Errorf(api.CodeRateLimited, "Too many attempts to log in; wait %s.", l.pause)
	slow.RetryAfter = l.pause
	return slow
}

// sweep forgets those that have recovered whole, and when all are in use, all: whoever
// comes from that many addresses is not held up by remembering them.
func (l *limiters) sweep(now time.Time) {
	for key, limiter := range l.of {
		if limiter.TokensAt(now) >= float64(l.burst) {
			delete(l.of, key)
		}
	}
	if len(l.of) >= maxBrakes {
		clear(l.of)
	}
}
