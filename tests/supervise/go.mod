module failover.dev/tests/supervise

go 1.26.0
