package account

import (
	"time"

	"github.com/stavily/agents/orchestrator/internal/brake"
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
)

// brakes slow down the guessing of passwords and links.
type brakes struct {
	addresses, names *brake.Brake
}

func newBrakes() *brakes {
	return &brakes{
		addresses: brake.New(1/addressPause.Seconds(), addressBurst),
		names:     brake.New(1/namePause.Seconds(), nameBurst),
	}
}

// from counts an attempt that comes from an address.
func (b *brakes) from(address string, now time.Time) error {
	return held(b.addresses.Take(brake.Address(address), now))
}

// held is what one is told who has to wait; nil for those who have not.
func held(wait time.Duration) error {
	if wait == 0 {
		return nil
	}
	wait = max(wait.Round(time.Second), time.Second)
	slow := api.Errorf(api.CodeRateLimited, "Too many attempts to log in; wait %s.", wait)
	slow.RetryAfter = wait
	return slow
}
