package drivertest

// Rules returns the names of all subtests.
func Rules() []string {
	names := []string{leaksName}
	for _, r := range allRules() {
		names = append(names, r.name)
	}
	return names
}
