package bond

import (
	"errors"
	"fmt"
)

// Restore makes a link what it was, changing only what differs: name, MAC,
// MTU, whether it is up, and its addresses. It goes on after an error and
// joins them.
func Restore(n Namespace, now, before Link, had Addresses) error {
	var errs []error
	change := func(what string, c Change) {
		if err := n.Change(now.Index, c); err != nil {
			errs = append(errs, fmt.Errorf("%s of %s: %w", what, now.Name, err))
		}
	}
	differs := now.Name != before.Name || now.MAC != before.MAC || now.MTU != before.MTU
	up := now.Up
	if differs && up {
		// Kernels before 6.2 rename, and many drivers change, no link that is up.
		up = false
		change("state", Change{Up: &up})
	}
	if now.Name != before.Name {
		change("name", Change{Name: &before.Name})
	}
	if now.MAC != before.MAC {
		change("MAC", Change{MAC: &before.MAC})
	}
	if now.MTU != before.MTU {
		change("MTU", Change{MTU: &before.MTU})
	}
	if up != before.Up {
		change("state", Change{Up: &before.Up})
	}
	if len(had.IPs) > 0 || len(had.Routes) > 0 {
		errs = append(errs, n.Configure(now.Index, had))
	}
	return errors.Join(errs...)
}
