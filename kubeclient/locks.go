package kubeclient

import (
	"hash/crc32"
	"sync"
)

// podLocks lets one request at a time work on a pod, and sometimes on a few.
type podLocks [64]sync.Mutex

// lock returns what unlocks.
func (l *podLocks) lock(uid string) func() {
	one := &l[crc32.ChecksumIEEE([]byte(uid))%uint32(len(l))]
	one.Lock()
	return one.Unlock
}

// recently has the names of the last few events, so that the many attempts
// at one pod do not ask the API server each time.
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
