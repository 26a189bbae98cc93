package gitsource

import (
	"container/list"
	"sync"
)

// lru keeps the most recently used values whose costs add up to at most limit. It is safe for concurrent use.
type lru[K comparable, V any] struct {
	mu    sync.Mutex
	limit int64
	used  int64
	order *list.List
	items map[K]*list.Element
}

type lruItem[K comparable, V any] struct {
	key   K
	value V
	cost  int64
}

func newLRU[K comparable, V any](limit int64) *lru[K, V] {
	return &lru[K, V]{limit: limit, order: list.New(), items: map[K]*list.Element{}}
}

func (c *lru[K, V]) get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[key]
	if !ok {
		var zero V
		return zero, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*lruItem[K, V]).value, true // only put fills the list
}

func (c *lru[K, V]) put(key K, value V, cost int64) {
	if cost > c.limit/4 {
		return // one value must not push out everything else
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.items[key]; ok {
		return
	}
	c.items[key] = c.order.PushFront(&lruItem[K, V]{key: key, value: value, cost: cost})
	for c.used += cost; c.used > c.limit; {
		e := c.order.Back()
		old := e.Value.(*lruItem[K, V]) // only put fills the list
		c.order.Remove(e)
		delete(c.items, old.key)
		c.used -= old.cost
	}
}
