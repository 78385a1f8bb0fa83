//go:build cgo && sdcpp && cuda

package sdcpp

// The prototypes are those of CUDA's runtime and of ggml-backend.h, so that no
// header outside the engine is needed.

// int cudaRuntimeGetVersion(int *version);
// int cudaDriverGetVersion(int *version);
// int cudaGetDeviceCount(int *count);
// int cudaDeviceGetAttribute(int *value, int attribute, int device);
// const char *cudaGetErrorString(int error);
//
// struct ggml_backend_feature {
// 	const char *name;
// 	const char *value;
// };
// typedef struct ggml_backend_feature *(*get_features)(void *reg);
// void *ggml_backend_reg_by_name(const char *name);
// void *ggml_backend_reg_get_proc_address(void *reg, const char *name);
//
// // sdw_cuda_architectures returns __CUDA_ARCH_LIST__ of the engine, such as
// // "800,860", or "".
// static const char *sdw_cuda_architectures(void) {
// 	void *reg = ggml_backend_reg_by_name("CUDA");
// 	get_features features = reg ? (get_features)ggml_backend_reg_get_proc_address(reg, "ggml_backend_get_features") : 0;
// 	if (features) {
// 		for (struct ggml_backend_feature *f = features(reg); f->name; f++) {
// 			if (f->name[0] == 'A' && f->name[1] == 'R') {
// 				return f->value;
// 			}
// 		}
// 	}
// 	return "";
// }
import "C"

import (
	"strconv"
	"strings"
)

// Attributes of cudaDeviceGetAttribute.
const (
	capabilityMajor = 75
	capabilityMinor = 76
)

// CUDAInfo asks the CUDA runtime; nil in a program that is not built for CUDA.
func CUDAInfo() *CUDA {
	initialize()
	var runtime, driver, count C.int
	C.cudaRuntimeGetVersion(&runtime)
	C.cudaDriverGetVersion(&driver)
	info := &CUDA{Runtime: cudaVersion(int(runtime)), Driver: cudaVersion(int(driver))}
	if e := C.cudaGetDeviceCount(&count); e != 0 {
		info.Problem = C.GoString(C.cudaGetErrorString(e))
		count = 0
	}
	for text := range strings.SplitSeq(C.GoString(C.sdw_cuda_architectures()), ",") {
		if n, err := strconv.Atoi(strings.TrimSpace(text)); err == nil {
			info.Architectures = append(info.Architectures, Dotted(n/10)) // 890 is 8.9
		}
	}
	for i := range count {
		var major, minor C.int
		C.cudaDeviceGetAttribute(&major, capabilityMajor, i)
		C.cudaDeviceGetAttribute(&minor, capabilityMinor, i)
		info.Devices = append(info.Devices, Dotted(10*major+minor))
	}
	return info
}

// cudaVersion reads CUDA's form of a version: 12080 is 12.8.
func cudaVersion(n int) Dotted { return Dotted(n/1000*10 + n%1000/10) }
