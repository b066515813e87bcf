package kubeclient

import (
	"hash/crc32"
	"sync"
)

// podLocks serializes the requests for each pod. A few pods share a lock.
type podLocks [64]sync.Mutex

// lock locks a pod and returns the function that unlocks it.
func (l *podLocks) lock(uid string) func() {
	one := &l[crc32.ChecksumIEEE([]byte(uid))%uint32(len(l))]
	one.Lock()
	return one.Unlock
}

// recently remembers the names of the last events, so that repeated attempts to
// start a pod do not send the same event each time.
type recently struct {
	lock  sync.Mutex
	names map[string]bool
}

func (r *recently) has(name string) bool {
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.names[name]
}

func (r *recently) add(name string) {
	const most = 1000
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.names == nil || len(r.names) >= most {
		r.names = map[string]bool{}
	}
	r.names[name] = true
}
