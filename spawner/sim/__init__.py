"""What the policy does with thousands of people: discrete events on the same functions that the hub calls."""
