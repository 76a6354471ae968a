// A client of a KMS plugin, as kube-apiserver has one with gRPC v1.56.3.
package main

import (
	// Which release this is, go.mod says.
	_ "google.golang.org/grpc"

	"dekhand.example/clients/calls"
)

func main() {
	calls.Main("grpc-1.56", calls.Raw, "")
}
