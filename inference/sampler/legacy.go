package sampler

import "strings"

// ParseLegacy splits a sampler name from before v1.9, such as "DPM++ 2M Karras",
// into the sampler and the label of the scheduler. A1111 does so when it reads
// generation parameters. A rest that is no sampler name becomes the first
// sampler, and a scheduler that is the sampler's own becomes Automatic.
//
// Every scheduler that ends the name cuts it further, in the order of the list,
// so "SGM Uniform" loses its "Uniform" first, a flaw kept from A1111. Schedulers
// of later versions are no part of the old names.
func ParseLegacy(name string) (sampler, scheduler string) {
	scheduler = Automatic
	own := ""
	for _, s := range schedulers {
		if s.Later {
			continue
		}
		for _, word := range append([]string{s.Label, s.Name}, s.Aliases...) {
			if rest, found := strings.CutSuffix(name, " "+word); found {
				name, scheduler, own = rest, s.Label, s.Name
				break
			}
		}
	}
	info, err := Find(name)
	if err != nil {
		info = infos[0]
	}
	if own != "" && info.Scheduler == own {
		scheduler = Automatic
	}
	return info.Name, scheduler
}
