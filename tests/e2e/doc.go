// Package e2e keeps the Secrets of a real kube-apiserver, in a real etcd, through dekhand.
package e2e
