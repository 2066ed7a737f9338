package runner

import "time"

// Budget is a poller's, with a clock of the test's.
type Budget struct{ budget }

// NewBudget returns the budget of a Config.
func NewBudget(c Config) *Budget { return &Budget{newPoller(c).budget} }

// Allows is budget's.
func (b *Budget) Allows(now, want time.Duration) time.Duration { return b.allows(now, want) }

// Spend is budget's.
func (b *Budget) Spend(d time.Duration) { b.spend(d) }
