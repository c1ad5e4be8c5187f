package engine

import (
	"sync"

	"github.com/stavily/agents/shared/pkg/api"
)

// cache keeps something of the store for each organisation until it is dropped.
type cache[V any] struct {
	mu     sync.Mutex // guards values
	values map[api.OrgID]V
}

func (c *cache[V]) of(org api.OrgID) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.values[org]
	return v, ok
}

func (c *cache[V]) set(org api.OrgID, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.values == nil {
		c.values = map[api.OrgID]V{}
	}
	c.values[org] = v
}

func (c *cache[V]) drop(org api.OrgID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.values, org)
}
