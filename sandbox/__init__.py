"""What an ISV develops against: simulators, testbed, the confined runtime."""
