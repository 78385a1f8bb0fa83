//go:build race

package sdapi_test

func init() { underRace = true }
