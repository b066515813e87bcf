package bond

import (
	"errors"
	"fmt"
)

// Restore changes the link now back to before, with the addresses had. It changes
// only what differs in name, MAC, MTU and state. It continues after an error and
// returns all errors joined.
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
		// Kernels before 6.2 do not rename a link that is up, and many drivers do not
		// change one.
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
