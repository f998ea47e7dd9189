package sim

// prefixBlock is the number of prompt tokens that are cached, and shared, together.
const prefixBlock = 16

// block is one cached block of prompt tokens, named by the hash of all tokens up to its end. It is
// live while sequences hold it, else idle and in the list of those that may be evicted.
type block struct {
	hash       uint64
	holders    int
	prev, next *block
}

// prefixCache holds the blocks of prompts, live and idle.
type prefixCache struct {
	blocks map[uint64]*block
	// idle is the root of a ring of idle blocks; idle.next is evicted first.
	idle block
	// live and idleCount add up to len(blocks).
	live, idleCount int
}

func newPrefixCache() *prefixCache {
	p := &prefixCache{blocks: make(map[uint64]*block)}
	p.idle.prev, p.idle.next = &p.idle, &p.idle
	return p
}

// look says how many leading blocks are cached, and by how many blocks hold would raise live.
func (p *prefixCache) look(hashes []uint64) (hit, growth int) {
	leading := true
	for _, h := range hashes {
		b := p.blocks[h]
		leading = leading && b != nil
		if leading {
			hit++
		}
		if b == nil || b.holders == 0 {
			growth++
		}
	}
	return hit, growth
}

// hold makes the blocks live, creating those that are missing, and appends them to dst.
func (p *prefixCache) hold(hashes []uint64, dst []*block) []*block {
	for _, h := range hashes {
		b := p.blocks[h]
		if b == nil {
			b = &block{hash: h}
			p.blocks[h] = b
		} else if b.holders == 0 {
			p.unlink(b)
		}
		if b.holders == 0 {
			p.live++
		}
		b.holders++
		dst = append(dst, b)
	}
	return dst
}

// release gives blocks back. The tail of a prompt becomes idle first and is evicted first, since
// a block is of no use without those before it.
func (p *prefixCache) release(blocks []*block) {
	for i := len(blocks) - 1; i >= 0; i-- {
		b := blocks[i]
		b.holders--
		if b.holders > 0 {
			continue
		}
		p.live--
		p.idleCount++
		b.prev, b.next = p.idle.prev, &p.idle
		b.prev.next, b.next.prev = b, b
	}
}

// evict drops the block that has been idle longest; false: there is none.
func (p *prefixCache) evict() bool {
	b := p.idle.next
	if b == &p.idle {
		return false
	}
	p.unlink(b)
	delete(p.blocks, b.hash)
	return true
}

// unlink takes an idle block out of the ring.
func (p *prefixCache) unlink(b *block) {
	b.prev.next, b.next.prev = b.next, b.prev
	b.prev, b.next = nil, nil
	p.idleCount--
}
