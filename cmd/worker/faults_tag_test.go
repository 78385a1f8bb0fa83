//go:build faults

package main

func init() { everyFault = true }
