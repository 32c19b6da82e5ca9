"""What bench/conversations.py and bench/endurance.py are made of."""
