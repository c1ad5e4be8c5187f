package engine

import "sync"

// pulse tells any number of waiting goroutines that something changed, and nothing
// more: they read what changed from the store, by cursor, so a slow follower costs
// no memory here.
type pulse struct {
	mu   sync.Mutex // guards next
	next chan struct{}
}

// wait returns a channel that is closed at the next beat. Take it before reading
// the store, so that no beat falls between the two.
func (p *pulse) wait() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == nil {
		p.next = make(chan struct{})
	}
	return p.next
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next != nil {
		close(p.next)
		p.next = nil
	}
}
